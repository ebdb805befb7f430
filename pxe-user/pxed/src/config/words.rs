//! The words for values in `pxed.toml` and on the command line. Both parsers, `--help` and the schema use the same list.
//!
//! Most of the types belong to layers without a command line, so the words of all types are here.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::raw::Action;
use crate::confine::Confinement;
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice};
use pxe_proto::dhcp::Style;

/// A type whose values have words in the file and on the command line.
pub(crate) trait Words: Copy + Send + Sync + 'static {
    /// Each value, its word, and its text in `--help`.
    const WORDS: &'static [(Self, &'static str, &'static str)];

    /// The value of a word. `None` if there is no such word.
    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known, _)| *known == word).map(|(value, ..)| *value)
    }

    /// All words, in the order of [`Self::WORDS`].
    fn words() -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().map(|(_, word, _)| *word)
    }
}

/// The command line's parser for the words of a type.
pub(crate) fn parser<T: Words>() -> impl TypedValueParser<Value = T> {
    let possible = T::WORDS.iter().map(|(_, word, help)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(possible)
        .try_map(|word| T::of_word(&word).ok_or_else(|| format!("{word} is no word of this option")))
}

impl Words for DatapathChoice {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Auto, "auto", "XDP where it works, else sockets"),
        (Self::Xdp, "xdp", "XDP and AF_XDP, or an error"),
        (Self::Socket, "socket", "Plain UDP sockets"),
    ];
}

impl Words for ModeChoice {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Auto, "auto", "Native on network cards, generic on virtual interfaces"),
        (Self::Native, "native", "In the driver, or an error"),
        (Self::Generic, "generic", "In the network stack"),
    ];
}

impl Words for OffloadChoice {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Auto, "auto", "As far as XDP, the driver and the kernel allow it"),
        (
            Self::Xdp,
            "xdp",
            "In the XDP program only (Linux 5.18): where frames cannot grow there, the daemon sends",
        ),
        (Self::Tcx, "tcx", "In the tcx program only (Linux 6.6)"),
        (Self::Off, "off", "Every packet goes through the daemon"),
    ];
}

impl Words for Style {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Direct,
            "direct",
            "The offer leads straight to TFTP; machines that ignore that get binl the next time",
        ),
        (Self::Binl, "binl", "The machine asks again on port 4011: a second slower, understood by all"),
        (Self::Menu, "menu", "A menu: memory test, or local disk"),
    ];
}

impl Words for Confinement {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Auto, "auto", "As far as the kernel can"),
        (
            Self::Require,
            "require",
            "All steps, with all of what Landlock restricts in files (Linux 6.2), or it does not start",
        ),
        (Self::Off, "off", "Not at all: for a debugger, or a kernel that is at odds with it"),
    ];
}

impl Words for Action {
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Local, "local", "The machine boots its own disk"),
        (Self::Ignore, "ignore", "The machine gets no answer"),
    ];
}
