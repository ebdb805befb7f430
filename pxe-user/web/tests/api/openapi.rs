//! The published description of the API: it names every path and field, and responses conform to it.

use std::collections::BTreeSet;

use pxe_fleet::board::{Board, Machine, Responder, State, Story, Update};
use pxe_web::api::Api;
use serde_json::{Value, json};

use crate::support::{Server, bare, board, full, get, lost, mac, post, responder, step, story};

fn description() -> Value {
    serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap()
}

fn check(name: &str, value: &Value) {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": description()["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}");
}

#[test]
fn every_path_is_described_and_no_other() {
    let described: BTreeSet<_> = description()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let served = Api::paths().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(described, served);
}

/// The schemas require all fields and allow no others, so each difference between type and schema fails.
#[test]
fn the_types_are_as_described() {
    let machines = State::ALL.iter().enumerate();
    let machines = machines
        .flat_map(|(index, state)| [full(index, *state).into(), bare(index + 10, *state).into()])
        .collect();
    let responders = vec![responder(), Responder::default()];
    let board = Board { machines, lost: vec![lost()], responders: responders.clone(), ..board(0) };
    check("Board", &serde_json::to_value(&board).unwrap());
    let foreign = Machine { responder: Some("rack-2".into()), ..full(1, State::Failed) };
    let story: Story = story(foreign);
    check("Story", &serde_json::to_value(&story).unwrap());
    for update in [
        Update::Machine { revision: 1, machine: bare(1, State::Seen).into() },
        Update::Forgotten { revision: 2, mac: mac(1) },
        Update::Responders { revision: 3, responders },
        Update::Step { step: step(1) },
        Update::Lost { lost: vec![lost()] },
    ] {
        check("Update", &serde_json::to_value(&update).unwrap());
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let server = Server::start(Board { lost: vec![lost()], responders: vec![responder()], ..board(30) });
    let machine = format!("/api/v1/machines/{}", mac(1));
    for (path, name) in [
        ("/api/v1/machines", "Board"),
        ("/api/v1/machines?state=failed", "Board"),
        (machine.as_str(), "Story"),
        ("/api/v1/summary", "Summary"),
        ("/api/v1/throughput", "Throughput"),
        ("/nothing", "Problem"),
    ] {
        check(name, &server.ask(get(path)).await.json());
    }
    check("Again", &server.ask(post("/api/v1/again", "")).await.json());
    check("Fed", &server.ask(post("/api/v1/feed/rack00-node01", "x")).await.json());
    check("Step", &serde_json::from_str(server.ask(get("/api/v1/steps?limit=1")).await.text()).unwrap());
    assert_eq!(server.ask(get("/api/v1/openapi.json")).await.json(), description());
}
