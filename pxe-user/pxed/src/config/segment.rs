//! The responders that share the segment (`[segment]`), and which of them this one is.

use std::sync::Arc;

use pxe_common::segment::{BUCKETS, Ranks};
use toml::Spanned;

use super::diagnostics::Diagnostics;
use super::raw;
use pxe_content::suggest::did_you_mean;
use pxe_engine::segment::{Member, Segment, Table};

/// The segment's responders, and this one's name among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSettings {
    /// The segment's name, for logs and people.
    pub name: Arc<str>,
    /// This responder's name. `None` for the host's name.
    pub responder: Option<Arc<str>>,
    /// All responders of the segment.
    pub segment: Segment,
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

    /// Which responder owns which machines.
    #[must_use]
    pub fn table(&self) -> Table {
        self.segment.table(|_| true)
    }

    /// This responder's rank for each machine.
    #[must_use]
    pub fn ranks(&self) -> Ranks {
        self.table().ranks(&self.own())
    }

    /// This responder's share, for logs and people.
    #[must_use]
    pub fn share(&self) -> String {
        let (table, own) = (self.table(), self.own());
        let owned = |member: &Member| format!("{} {}", member.name, table.owned(&member.name));
        format!(
            "this responder ({own}) owns {} of {BUCKETS} buckets of machines ({}; table {:08x}, the same on each of them)",
            table.owned(&own),
            self.segment.members().iter().map(owned).collect::<Vec<_>>().join(", "),
            table.digest(),
        )
    }

    /// Checks that this responder is one of the segment's.
    ///
    /// # Errors
    /// [`NotInSegment`].
    pub fn require_own(&self) -> Result<(), NotInSegment> {
        let name = self.own();
        if self.segment.has(&name) {
            return Ok(());
        }
        let members: Vec<&str> = self.segment.members().iter().map(|member| &*member.name).collect();
        Err(NotInSegment {
            origin: if self.responder.is_none() { ", this host's name," } else { "" },
            segment: Arc::clone(&self.name),
            near: did_you_mean(&name, members.iter().copied()),
            members: members.join(", "),
            name,
        })
    }
}

/// Reads the table, and reports what is wrong with it.
pub(super) fn segment(
    diagnostics: &mut Diagnostics<'_>,
    raw: Spanned<raw::Segment>,
) -> Option<SegmentSettings> {
    let span = raw.span();
    let raw::Segment { name, responder, responders } = raw.into_inner();
    let lines: Vec<_> =
        responders.iter().map(|member| (member.get_ref().name.clone(), member.span())).collect();
    let member = |member: Spanned<raw::SegmentResponder>| {
        let raw::SegmentResponder { name, weight } = member.into_inner();
        Member { name: name.into(), weight: weight.unwrap_or(1) }
    };
    let segment = match Segment::new(responders.into_iter().map(member).collect()) {
        Ok(segment) => segment,
        Err(error) => {
            // At the last entry with this name: the second one of two.
            let of_entry =
                error.name().and_then(|name| lines.iter().rev().find(|(known, _)| **known == **name));
            let at = of_entry.map_or(span, |(_, span)| span.clone());
            diagnostics.error(at, format!("[segment]: {error}"));
            return None;
        }
    };
    let given = responder.as_ref().map(Spanned::span);
    let settings = SegmentSettings {
        name: name.into(),
        responder: responder.map(|responder| responder.into_inner().into()),
        segment,
    };
    // Without the key, the name is that of the host on which pxed runs, which need not be this one.
    if let Some(given) = given {
        diagnostics.accept(given, settings.require_own())?;
    }
    Some(settings)
}
