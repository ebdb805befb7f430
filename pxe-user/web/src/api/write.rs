//! Handlers of requests that change something.

use std::net::Ipv4Addr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::read::{WHO_MAX, ask, machine_of};
use super::{Api, FLEET_WAIT};
use pxe_fleet::handle::{MachineSelector, Message, NameError};
use pxe_proto::dhcp::Uuid;
use pxe_proto::mac::Mac;

/// The longest line of a console that the fleet reads, in bytes. Longer lines are cut.
pub(super) const LINE_MAX: usize = 4096;
/// The longest name of a machine, in bytes.
const NAME_MAX: usize = 64;

/// The response to `POST .../again`: how many machines boot by their rules from the beginning.
#[derive(Serialize)]
pub(super) struct Again {
    machines: usize,
}

pub(super) async fn again(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Again>, Problem> {
    let mac = machine_of(&api, &name).await?;
    let machines = ask(&api.fleet, FLEET_WAIT, |answer| Message::Again(Some(mac), answer)).await?;
    if machines == 0 { Err(Problem::unknown_machine()) } else { Ok(Json(Again { machines })) }
}

pub(super) async fn again_all(State(api): State<Api>) -> Result<Json<Again>, Problem> {
    let machines = ask(&api.fleet, FLEET_WAIT, |answer| Message::Again(None, answer)).await?;
    Ok(Json(Again { machines }))
}

/// The body of `PUT .../name`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    name: Option<String>,
}

pub(super) async fn name(
    State(api): State<Api>,
    Path(machine): Path<String>,
    Json(Name { name }): Json<Name>,
) -> Result<StatusCode, Problem> {
    let mac = machine_of(&api, &machine).await?;
    let fits = |name: &String| {
        !name.trim().is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control)
    };
    if !name.as_ref().is_none_or(fits) {
        return Err(Problem::bad(format!("a name has 1 to {NAME_MAX} bytes and no control characters")));
    }
    if name.as_deref().is_some_and(names_by_itself) {
        let text = "a name is no Ethernet address, IPv4 address or UUID, which find a machine already, and not `all`";
        return Err(Problem::bad(text));
    }
    let named = ask(&api.fleet, FLEET_WAIT, |answer| Message::Name(mac, name, answer)).await?;
    match named {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(NameError::Unknown) => Err(Problem::unknown_machine()),
        Err(taken @ NameError::Taken(_)) => Err(Problem::new(StatusCode::CONFLICT, taken.to_string())),
    }
}

/// Whether a word identifies machines by itself, so that it cannot be a name.
fn names_by_itself(word: &str) -> bool {
    let word = word.trim();
    word.eq_ignore_ascii_case("all")
        || word.parse::<Mac>().is_ok()
        || word.parse::<Ipv4Addr>().is_ok()
        || word.parse::<Uuid>().is_ok()
}

/// The response to `POST /api/v1/feed/...`: how many lines arrived, and how many of them a memory test wrote.
#[derive(Serialize)]
pub(super) struct Fed {
    lines: usize,
    test_lines: usize,
}

pub(super) async fn feed(
    State(api): State<Api>,
    Path(who): Path<String>,
    body: Bytes,
) -> Result<Json<Fed>, Problem> {
    let who = who.trim();
    if who.is_empty() || who.len() > WHO_MAX {
        return Err(Problem::bad("name the machine: its name, serial number, UUID, or Ethernet address"));
    }
    let who = MachineSelector::Text(who.to_owned());
    let lines: Vec<String> =
        body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line).collect();
    let count = lines.len();
    let answer = ask(&api.fleet, FLEET_WAIT, |answer| Message::Lines(who, lines, answer)).await?;
    let test_lines = answer.ok_or_else(Problem::unknown_machine)?;
    api.counts().lines(count, test_lines);
    Ok(Json(Fed { lines: count, test_lines }))
}

/// A serial line may deliver any bytes, so invalid UTF-8 is replaced.
fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LINE_MAX)]).into_owned()
}
