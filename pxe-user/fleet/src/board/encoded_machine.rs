//! [`EncodedMachine`]: a machine with its JSON, shared by the board, its updates and all readers.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Machine;

/// A machine at one moment. Clones share the machine and its JSON. So a new board on which one machine has
/// changed copies and encodes only that machine, and a reader encodes nothing.
#[derive(Clone)]
pub struct EncodedMachine(Arc<Shared>);

struct Shared {
    machine: Machine,
    json: OnceLock<Box<[u8]>>,
}

impl EncodedMachine {
    /// The machine as JSON. The first call encodes it, and later calls return the same bytes.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        // A machine has only texts, numbers and lists, so encoding cannot fail.
        self.0.json.get_or_init(|| serde_json::to_vec(&self.0.machine).unwrap_or_default().into())
    }

    /// Whether both are the same allocation, which is stricter than equality.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Machine> for EncodedMachine {
    fn from(machine: Machine) -> Self {
        Self(Arc::new(Shared { machine, json: OnceLock::new() }))
    }
}

impl Deref for EncodedMachine {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.0.machine
    }
}

impl fmt::Debug for EncodedMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.machine.fmt(f)
    }
}

impl PartialEq for EncodedMachine {
    fn eq(&self, other: &Self) -> bool {
        self.0.machine == other.0.machine
    }
}

impl Serialize for EncodedMachine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.machine.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncodedMachine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Machine::deserialize(deserializer).map(Self::from)
    }
}
