//! [`SegmentView`]: with whom this responder shares the segment now, for the datapath, the board and the log. Its responders
//! are in the configuration, or [`segment_members`](super::segment_members) finds them in the shared ledger.

use std::sync::Arc;

use pxe_common::segment::Ranks;
use pxe_engine::gauges::SegmentGauges;
use pxe_engine::segment::membership::Presence;

use crate::config::{Responders, SegmentSettings, share};

/// What a responder writes into the ledger of itself. What is found by one enrolment says nothing about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enrolment {
    pub(super) segment: Arc<str>,
    pub(super) responder: Arc<str>,
    pub(super) weight: u32,
}

impl Enrolment {
    /// The enrolment that the settings want. `None` if the segment's responders are not in the ledger.
    pub(super) fn of(settings: Option<&SegmentSettings>) -> Option<Self> {
        let settings = settings?;
        match settings.responders {
            Responders::Listed(_) => None,
            Responders::InLedger { weight } => {
                Some(Self { segment: Arc::clone(&settings.name), responder: settings.own(), weight })
            }
        }
    }
}

/// The responders that the ledger has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) enrolment: Enrolment,
    pub(super) presence: Presence,
}

/// With whom the segment is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentView {
    /// The segment's name.
    pub(super) name: Arc<str>,
    /// This responder's ranks. `None` while it knows of no other and answers every machine.
    pub(super) ranks: Option<Arc<Ranks>>,
    /// How many other responders there are, alive or not. `None` while it is not known.
    pub(super) others: Option<usize>,
    /// This responder's share, in words.
    pub(super) share: String,
}

impl SegmentView {
    /// The view by the settings and by what the ledger has shown. `None` if the segment is not shared.
    pub(super) fn new(settings: Option<&SegmentSettings>, found: Option<&Found>) -> Option<Self> {
        let settings = settings?;
        let (name, own) = (Arc::clone(&settings.name), settings.own());
        let of_table = |segment: &pxe_engine::segment::Segment, table: &pxe_engine::segment::Table| Self {
            name: Arc::clone(&name),
            ranks: Some(Arc::new(table.ranks(&own))),
            others: Some(segment.members().len().saturating_sub(1)),
            share: share(&own, segment, table),
        };
        if let Some((segment, table)) = settings.listed() {
            return Some(of_table(segment, &table));
        }
        let enrolment = Enrolment::of(Some(settings));
        if let Some(found) = found.filter(|found| Some(&found.enrolment) == enrolment.as_ref()) {
            return Some(of_table(&found.presence.segment, &found.presence.table()));
        }
        let share = format!(
            "the shared ledger has not named its responders yet, so this one ({own}) answers every machine"
        );
        Some(Self { name, ranks: None, others: None, share })
    }

    /// Logs who shares the segment.
    pub(super) fn log(view: Option<&Self>) {
        match view {
            Some(view) => tracing::info!(event = "segment", segment = %view.name, "{}", view.share),
            None => {
                tracing::info!(event = "segment", "the segment is not shared: pxed answers every machine")
            }
        }
    }

    /// What the board shows.
    pub(super) fn gauges(&self, problem: Option<&str>) -> SegmentGauges {
        SegmentGauges {
            name: self.name.to_string(),
            share: self.share.clone(),
            problem: problem.map(str::to_owned),
        }
    }
}
