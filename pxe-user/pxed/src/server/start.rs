//! The start, as three phases on one thread. Each phase is a type, made only by consuming the one before:
//!
//! ```text
//! Prepared -- open --> Opened -- confine --> Confined -- Running::start --> Running
//! ```
//! | phase | done | not yet |
//! |---|---|---|
//! | [`Prepared`] | boot files are open, kernel programs are loaded | nothing is attached or bound, and a predecessor serves |
//! | [`Opened`] | the predecessor has ended; everything that needs privileges is open | nobody answers |
//! | [`Confined`] | the privileges are given up | no thread has started |
//!
//! Only [`Confined`] has a [`ThreadPermit`], and only `Running::start` takes one. So what a phase opens is open before the
//! confinement, and each thread starts after it. If a step fails, dropping the phase takes down what it holds.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::confined::{self, ThreadPermit};
use super::handover::{self, HandoverState, Inheritance, Predecessor};
use super::open_interface::{OpenInterface, PreparedInterface};
use super::opened_sources::OpenedSources;
use super::planning::{check_descriptors, plans, raise_descriptor_limit};
use super::reload::ConfigReader;
use super::shared_ledger::shared_ledger;
use super::web::WebListeners;
use crate::config::Settings;
use crate::confine::{Account, Outbound};
use crate::image_cache;
use crate::offering::Offering;
use pxe_content::boot::Catalogue;
use pxe_engine::clock::Clock;
use pxe_engine::plan::Plan;
use pxe_engine::responder::TransferSnapshot;
use pxe_engine::worker::queues::LoaderQueue;
use pxe_fleet::thread::SharedLedger;

/// What all phases hand on.
pub(super) struct StartContext {
    pub(super) offering: Offering,
    pub(super) reader: ConfigReader,
    pub(super) catalogue: Catalogue,
    pub(super) loader_queue: Arc<LoaderQueue>,
    pub(super) clock: Clock,
    /// The shared ledger, if there is one.
    pub(super) ledger: Option<SharedLedger>,
    /// Images from elsewhere.
    pub(super) images: OpenedSources,
}

impl StartContext {
    /// The settings of the start.
    pub(super) fn settings(&self) -> &Settings {
        self.offering.settings()
    }
}

/// Everything that can be done while a predecessor still serves.
pub(super) struct Prepared {
    interfaces: Vec<PreparedInterface>,
    context: StartContext,
}

/// Everything that needs privileges is open. Nobody answers until the workers run.
pub(super) struct Opened {
    interfaces: Vec<(OpenInterface, Vec<TransferSnapshot>)>,
    listeners: WebListeners,
    handover: Option<HandoverState>,
    hand_over_refused: Option<&'static str>,
    context: StartContext,
}

/// The privileges are given up, and this is still the only thread.
pub(super) struct Confined {
    /// The interfaces, each with the transfers of a predecessor.
    pub(super) interfaces: Vec<(OpenInterface, Vec<TransferSnapshot>)>,
    /// The sockets of HTTP, and the inbox.
    pub(super) listeners: WebListeners,
    /// The state of a predecessor. What this daemon does not use of it is closed with it.
    pub(super) handover: Option<HandoverState>,
    /// Why the state of a predecessor was refused, if it was.
    pub(super) hand_over_refused: Option<&'static str>,
    pub(super) context: StartContext,
    /// The permission to start threads.
    pub(super) permit: ThreadPermit,
}

impl Prepared {
    /// Opens the boot files, and loads the kernel programs of each interface.
    ///
    /// # Errors
    /// What prevents the start, with the remedy. A predecessor still serves then.
    pub(super) fn new(offering: Offering, reader: ConfigReader) -> Result<Self> {
        let settings = Arc::clone(offering.settings());
        raise_descriptor_limit();
        check_descriptors(&settings)?;
        let images = OpenedSources::open(&settings);
        let catalogue = Catalogue::open(image_cache::with(&settings, &images.stored))?;
        for missing in catalogue.missing() {
            tracing::warn!("{missing}");
        }
        let loader_queue =
            Arc::new(LoaderQueue::new(settings.transfers.max(1024)).context("cannot make an eventfd")?);
        let clock = Clock::start();
        let prepare = |plan: Plan| {
            let name = plan.interface.name.clone();
            PreparedInterface::new(plan, &settings).with_context(|| format!("cannot serve {name}"))
        };
        let interfaces = plans(&settings)?.into_iter().map(prepare).collect::<Result<_>>()?;
        // The confinement needs the user. Fail now, while a predecessor still serves.
        Account::find(settings.user.as_deref())?;
        // The resolver may take its time, so this comes while a predecessor still serves.
        let ledger = shared_ledger(&settings);
        let context = StartContext { offering, reader, catalogue, loader_queue, clock, ledger, images };
        Ok(Self { interfaces, context })
    }

    /// Takes over from a predecessor, if there is one, and opens everything that needs privileges.
    ///
    /// # Errors
    /// What prevents the start, with the remedy. Nothing stays attached or open.
    pub(super) fn open(self, inheritance: Inheritance) -> Result<Opened> {
        let Self { interfaces: prepared, context } = self;
        let settings = context.settings();
        // From here until the workers run, nobody answers.
        let Predecessor { mut handover, refused } =
            handover::find(&settings.interfaces, inheritance, &context.catalogue)?;
        // The sockets first: an address that is taken should be reported before anything is attached.
        let mut listeners = WebListeners::open(settings)?;
        let mut interfaces = Vec::new();
        for one in prepared {
            let name = one.plan.interface.name.clone();
            let mut interface_state = HandoverState::take_interface(&mut handover, &name);
            let one =
                one.open(settings, &mut interface_state).with_context(|| format!("cannot serve {name}"))?;
            if let Some(port) = settings.http_port {
                listeners.add(one.plan.subnet.address, port)?;
            }
            interfaces.push((one, interface_state.snapshots));
        }
        for left in handover.iter().flat_map(|handover| &handover.interfaces) {
            tracing::warn!(
                interface = left.name,
                "the previous pxed served this interface, and no pxed does now"
            );
        }
        Ok(Opened { interfaces, listeners, handover, hand_over_refused: refused, context })
    }
}

impl Opened {
    /// Gives up all privileges that the running daemon does not need.
    ///
    /// # Errors
    /// What could not be given up, with the remedy.
    pub(super) fn confine(self) -> Result<Confined> {
        let Self { interfaces, listeners, handover, hand_over_refused, context } = self;
        let kept = interfaces.iter().flat_map(|(interface, _)| interface.kept()).collect();
        let target = context.ledger.as_ref().and_then(|ledger| ledger.target.as_ref().ok());
        let mut outbound = target.map_or_else(Outbound::default, |target| Outbound {
            ports: target.ports().to_vec(),
            is_unix: !target.directories().is_empty(),
        });
        outbound.ports.extend(context.images.ports());
        let (settings, file) = (context.settings(), context.reader.file());
        let permit = confined::enter(settings, file, &context.catalogue, (kept, outbound))?;
        Ok(Confined { interfaces, listeners, handover, hand_over_refused, context, permit })
    }
}
