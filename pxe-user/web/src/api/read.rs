//! Handlers of requests that change nothing.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use super::problem::Problem;
use super::{Api, FLEET_WAIT, chunks, throughput};
use pxe_fleet::board::{EncodedMachine, Lost, State as MachineState};
use pxe_fleet::handle::{FleetHandle, MachineSelector, Message, Unreachable};
use pxe_proto::mac::Mac;

/// The longest name, serial number, UUID or address of a machine in a request, in bytes.
pub(super) const WHO_MAX: usize = 256;
/// The most steps in one response.
const STEPS_MAX: usize = 10_000;
/// Steps in a response to a request without `limit`.
const STEPS_USUAL: usize = 1000;
/// `/readyz` fails if the fleet's thread takes longer than this to answer.
const READY_WAIT: Duration = Duration::from_secs(1);

/// Asks the fleet's thread, and waits at most `wait` for the answer.
pub(super) async fn ask<T>(
    fleet: &FleetHandle,
    wait: Duration,
    message: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> Message,
) -> Result<T, Unreachable> {
    tokio::time::timeout(wait, fleet.ask(message)).await.map_err(|_| Unreachable)?
}

/// The machine that a path names: by Ethernet address, name, serial number, UUID or IPv4 address.
pub(super) async fn machine_of(api: &Api, text: &str) -> Result<Mac, Problem> {
    if let Ok(mac) = text.parse() {
        return Ok(mac);
    }
    if text.is_empty() || text.len() > WHO_MAX {
        return Err(Problem::bad("name the machine: its Ethernet address, or its name"));
    }
    let who = MachineSelector::Text(text.to_owned());
    let found = ask(&api.fleet, FLEET_WAIT, |answer| Message::Find(who, answer)).await?;
    found.ok_or_else(Problem::unknown_machine)
}

#[derive(Deserialize)]
pub(super) struct Only {
    state: Option<String>,
}

pub(super) async fn machines(
    State(api): State<Api>,
    Query(only): Query<Only>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let board = api.fleet.board();
    let tag = format!("\"{:x}-{}\"", api.instance, board.revision);
    let tags = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".into())];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or("");
    let states = only.state.as_deref().map(states).transpose()?;
    if known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, tags).into_response());
    }
    let pace = api.pace.clone();
    let chunks = stream::iter(chunks::of(board, states)).then(move |chunk| {
        let pace = pace.clone();
        async move {
            pace.wait(chunk.len()).await;
            Ok::<_, Infallible>(chunk)
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((tags, kind, Body::from_stream(chunks)).into_response())
}

/// Parses a list of states, such as `failed,returned`.
fn states(text: &str) -> Result<Vec<MachineState>, Problem> {
    let state = |word: &str| MachineState::ALL.into_iter().find(|state| state.as_str() == word);
    text.split(',').map(|word| state(word).ok_or_else(unknown_state)).collect()
}

fn unknown_state() -> Problem {
    let words: Vec<_> = MachineState::ALL.iter().map(|state| state.as_str()).collect();
    Problem::bad(format!("state is one or more, with commas, of {}", words.join(", ")))
}

pub(super) async fn machine(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    let mac = machine_of(&api, &name).await?;
    let story = ask(&api.fleet, FLEET_WAIT, |answer| Message::Story(mac, answer)).await?;
    Ok(Json(story.ok_or_else(Problem::unknown_machine)?).into_response())
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

pub(super) async fn steps(
    State(api): State<Api>,
    Query(After { after, limit }): Query<After>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(STEPS_USUAL).min(STEPS_MAX);
    let steps = ask(&api.fleet, FLEET_WAIT, |answer| Message::Steps(after, limit, answer)).await?;
    let mut lines = Vec::new();
    for step in steps {
        serde_json::to_writer(&mut lines, &step)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        lines.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from(lines)).into_response())
}

/// The body of `GET /api/v1/summary`.
#[derive(Serialize)]
struct Summary {
    version: &'static str,
    uptime_s: u64,
    ready: bool,
    totals: BTreeMap<&'static str, usize>,
    bytes_per_s: u64,
    interfaces: Vec<Interface>,
    image_bytes: u64,
    reloads: u64,
    config_problem: Option<String>,
    segment: Option<Segment>,
    foreign_proxies: Option<String>,
    images: Vec<Image>,
    lost: Vec<Lost>,
}

/// With whom the segment is shared.
#[derive(Serialize)]
struct Segment {
    name: String,
    share: String,
    problem: Option<String>,
}

/// An image that comes from elsewhere.
#[derive(Serialize)]
struct Image {
    name: String,
    source: String,
    files: u64,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Interface {
    name: String,
    address: Option<String>,
    datapath: &'static str,
    mode: &'static str,
    offload: &'static str,
    queues: u32,
    transfers: u64,
    waiting: u64,
}

/// The number of machines in each state. States without machines are included, with 0.
pub(super) fn totals<'a>(
    machines: impl Iterator<Item = &'a EncodedMachine>,
) -> BTreeMap<&'static str, usize> {
    let mut totals: BTreeMap<_, _> = MachineState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
    for machine in machines {
        *totals.entry(machine.state.as_str()).or_default() += 1;
    }
    totals
}

pub(super) async fn summary(State(api): State<Api>) -> impl IntoResponse {
    let (board, gauges) = (api.fleet.board(), api.gauges.load());
    let interface = |shown: &pxe_engine::gauges::InterfaceGauges| Interface {
        name: shown.name.clone(),
        address: shown.address.map(|address| address.to_string()),
        datapath: shown.datapath,
        mode: shown.mode,
        offload: shown.offload,
        queues: shown.queues,
        transfers: shown.transfers,
        waiting: shown.waiting,
    };
    let image = |shown: &pxe_engine::gauges::ImageGauges| Image {
        name: shown.name.clone(),
        source: shown.source.clone(),
        files: shown.files,
        problem: shown.problem.clone(),
    };
    Json(Summary {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: api.started.elapsed().as_secs(),
        ready: gauges.ready,
        totals: totals(board.machines.iter()),
        bytes_per_s: api.throughput.lock().map_or(0, |throughput| throughput.now()),
        interfaces: gauges.interfaces.iter().map(interface).collect(),
        image_bytes: gauges.image_bytes,
        reloads: gauges.reloads,
        config_problem: gauges.config_problem.clone(),
        segment: gauges.segment.clone().map(|shown| Segment {
            name: shown.name,
            share: shown.share,
            problem: shown.problem,
        }),
        foreign_proxies: gauges.foreign_proxies.clone(),
        images: gauges.images.iter().map(image).collect(),
        lost: board.lost.clone(),
    })
}

#[derive(Serialize)]
struct Rates {
    step_ms: u128,
    bytes_per_s: Vec<u64>,
}

pub(super) async fn throughput(State(api): State<Api>) -> impl IntoResponse {
    let bytes_per_s = api.throughput.lock().map_or_else(|_| Vec::new(), |rates| rates.rates().collect());
    Json(Rates { step_ms: throughput::STEP.as_millis(), bytes_per_s })
}

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api
        .metrics
        .text()
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn healthz() -> &'static str {
    "alive\n"
}

pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, Problem> {
    let gauges = api.gauges.load();
    if !gauges.ready {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not everything is set up yet"));
    }
    if !gauges.hanging.is_empty() {
        let text = format!("these threads hang: {}", gauges.hanging.join(", "));
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    drop(gauges);
    ask(&api.fleet, READY_WAIT, |answer| Message::Steps(u64::MAX, 0, answer)).await?;
    Ok("ready\n")
}
