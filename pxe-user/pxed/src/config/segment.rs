//! The responders that share the segment (`[segment]`), and which of them this one is. They are in a list, or find one
//! another in the shared ledger.

use std::sync::Arc;

use pxe_common::segment::BUCKETS;
use toml::Spanned;

use super::diagnostics::Diagnostics;
use super::raw;
use pxe_content::suggest::did_you_mean;
use pxe_engine::segment::{Member, Segment, Table, WEIGHT_MAX};

/// The segment's responders, and this one's name among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSettings {
    /// The segment's name. Responders in the ledger find one another by it; with a list, it is for logs and people.
    pub name: Arc<str>,
    /// This responder's name. `None` for the host's name.
    pub responder: Option<Arc<str>>,
    /// Who the others are.
    pub responders: Responders,
}

/// Where the segment's responders are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responders {
    /// In the configuration. All of them count as alive.
    Listed(Segment),
    /// In the shared ledger.
    InLedger {
        /// This responder's weight.
        weight: u32,
    },
}

/// This responder is not in its own list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}`{origin} is none of the responders of segment {segment}, which are {members}: add it there, or give `responder`{near}"
)]
pub struct NotInSegment {
    name: Arc<str>,
    origin: &'static str,
    segment: Arc<str>,
    members: String,
    near: String,
}

impl SegmentSettings {
    /// This responder's name: as given, or the host's.
    #[must_use]
    pub fn own(&self) -> Arc<str> {
        let host = || rustix::system::uname().nodename().to_string_lossy().into();
        self.responder.clone().unwrap_or_else(host)
    }

    /// The list of the configuration, and which responder owns which machines by it. `None` if the responders are in the
    /// ledger.
    #[must_use]
    pub fn listed(&self) -> Option<(&Segment, Table)> {
        match &self.responders {
            Responders::Listed(segment) => Some((segment, segment.table(|_| true))),
            Responders::InLedger { .. } => None,
        }
    }

    /// Checks that this responder is one of the list's.
    ///
    /// # Errors
    /// [`NotInSegment`].
    pub fn require_own(&self) -> Result<(), NotInSegment> {
        let Responders::Listed(segment) = &self.responders else { return Ok(()) };
        let name = self.own();
        if segment.has(&name) {
            return Ok(());
        }
        let members: Vec<&str> = segment.members().iter().map(|member| &*member.name).collect();
        Err(NotInSegment {
            origin: if self.responder.is_none() { ", this host's name," } else { "" },
            segment: Arc::clone(&self.name),
            near: did_you_mean(&name, members.iter().copied()),
            members: members.join(", "),
            name,
        })
    }
}

/// A responder's share, for logs and people.
#[must_use]
pub fn share(own: &str, segment: &Segment, table: &Table) -> String {
    let owned = |member: &Member| format!("{} {}", member.name, table.owned(&member.name));
    format!(
        "this responder ({own}) owns {} of {BUCKETS} buckets of machines ({}; table {:08x}, the same on each of them)",
        table.owned(own),
        segment.members().iter().map(owned).collect::<Vec<_>>().join(", "),
        table.digest(),
    )
}

/// Reads the table, and reports what is wrong with it. `ledger` is the name that `[ledger]` gives this responder: the outer
/// option is `None` without that table.
pub(super) fn segment(
    diagnostics: &mut Diagnostics<'_>,
    raw: Spanned<raw::Segment>,
    ledger: Option<Option<String>>,
) -> Option<SegmentSettings> {
    let span = raw.span();
    let raw::Segment { name, responder, weight, responders } = raw.into_inner();
    let settings = match (responders, ledger) {
        (Some(list), _) => {
            if let Some(weight) = weight {
                let text = "[segment] has a list, which has the weights: move this one to the entry of this responder, or remove \
                            the list to let responders find one another in [ledger]";
                diagnostics.error(weight.span(), text);
                return None;
            }
            let segment = listed(diagnostics, span, list)?;
            let responders = Responders::Listed(segment);
            let own = responder.as_ref().map(|responder| responder.get_ref().as_str().into());
            SegmentSettings { name: name.into(), responder: own, responders }
        }
        (None, Some(own)) => {
            if let Some(responder) = responder {
                let text = "[segment]: `responder` is a name in a list. Without a list, this responder has the name in [ledger]: \
                            give `responder` there";
                diagnostics.error(responder.span(), text);
                return None;
            }
            let weight = weight.map_or(1, |weight| weight_of(diagnostics, &weight));
            let responders = Responders::InLedger { weight };
            return Some(SegmentSettings { name: name.into(), responder: own.map(Into::into), responders });
        }
        (None, None) => {
            let text = "[segment] does not say with whom: list all responders ([[segment.responders]]), or give a [ledger] in \
                        which they find one another";
            diagnostics.error(span, text);
            return None;
        }
    };
    // Without the key, the name is that of the host on which pxed runs, which need not be this one.
    if let Some(given) = responder {
        diagnostics.accept(given.span(), settings.require_own())?;
    }
    Some(settings)
}

fn weight_of(diagnostics: &mut Diagnostics<'_>, weight: &Spanned<u32>) -> u32 {
    let value = *weight.get_ref();
    if !(1..=WEIGHT_MAX).contains(&value) {
        let text = format!("[segment]: `weight` is {value}: write a number from 1 to {WEIGHT_MAX}");
        diagnostics.error(weight.span(), text);
    }
    value
}

/// The list of the file.
fn listed(
    diagnostics: &mut Diagnostics<'_>,
    span: std::ops::Range<usize>,
    responders: Vec<Spanned<raw::SegmentResponder>>,
) -> Option<Segment> {
    let lines: Vec<_> =
        responders.iter().map(|member| (member.get_ref().name.clone(), member.span())).collect();
    let member = |member: Spanned<raw::SegmentResponder>| {
        let raw::SegmentResponder { name, weight } = member.into_inner();
        Member { name: name.into(), weight: weight.unwrap_or(1) }
    };
    let segment = Segment::new(responders.into_iter().map(member).collect());
    let error = match segment {
        Ok(segment) => return Some(segment),
        Err(error) => error,
    };
    // At the last entry with this name: the second one of two.
    let of_entry = error.name().and_then(|name| lines.iter().rev().find(|(known, _)| **known == **name));
    let at = of_entry.map_or(span, |(_, span)| span.clone());
    diagnostics.error(at, format!("[segment]: {error}"));
    None
}
