//! Simulated clients, pure as the server's side is: no socket, no clock, no thread. The load generator plays thousands of them over
//! a real interface; the scenes of `pxe-engine` take the firmware's timers from here.
//!
//! | file | noun |
//! |---|---|
//! | [`manners`] | what tells firmware apart: options, timers, what it does with a block that it did not expect |
//! | [`transfer`] | one file's transfer, with the manners of real firmware |
//! | [`noise`] | a bad cable |
//!
//! What firmware does is written down, with its sources, in `docs/clients.md`; a timer that is corrected there is corrected here.

pub mod manners;
pub mod noise;
pub mod transfer;
