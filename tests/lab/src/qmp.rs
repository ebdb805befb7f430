//! A client of QEMU's monitor (QMP), over QEMU's standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the monitor of one QEMU.
#[derive(Debug)]
pub(super) struct Qmp {
    input: ChildStdin,
    output: Receiver<Value>,
    events: Vec<String>,
}

impl Qmp {
    /// Waits for QEMU's greeting, and negotiates capabilities.
    pub(super) fn open(input: ChildStdin, output: ChildStdout) -> Result<Self> {
        let (messages, inbox) = channel();
        // The thread ends when QEMU closes its output, at the latest when QEMU ends.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str(&line) else { continue };
                if messages.send(message).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Self { input, output: inbox, events: Vec::new() };
        qmp.message()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn message(&self) -> Result<Value> {
        match self.output.recv_timeout(TIMEOUT) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => bail!("QEMU's monitor does not answer"),
            Err(RecvTimeoutError::Disconnected) => bail!("QEMU ended"),
        }
    }

    /// Executes a command, and returns its result.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        if writeln!(self.input, "{line}").is_err() {
            bail!("QEMU ended");
        }
        loop {
            let mut message = self.message()?;
            if let Some(event) = message["event"].as_str() {
                self.events.push(event.to_owned());
            } else if !message["error"].is_null() {
                bail!("QEMU refused {command}: {}", message["error"]["desc"]);
            } else if message.get("return").is_some() {
                return Ok(message["return"].take());
            }
        }
    }

    /// The events since the last call.
    pub(super) fn events(&mut self) -> Vec<String> {
        for message in self.output.try_iter() {
            self.events.extend(message["event"].as_str().map(str::to_owned));
        }
        std::mem::take(&mut self.events)
    }
}
