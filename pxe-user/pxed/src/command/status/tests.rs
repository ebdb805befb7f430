use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::{bar, draw};
use super::network;
use super::table::{Look, write};
use super::text::{bytes, cut, escape, span, width};
use super::view::{Action, View};
use pxe_fleet::board::{
    Board, Lost, Machine, MemoryError, Progress, Responder, State, Story, TestOutcome, UnixMs, Update,
    Verdict,
};

const NOW: UnixMs = UnixMs(1_700_000_100_000);

fn machine(index: usize, state: State) -> Machine {
    let text = serde_json::json!({
        "mac": format!("02:00:00:00:{:02x}:{:02x}", index / 256, index % 256),
        "name": format!("node{index:04}"), "image": "memtest", "rule": "lab",
        "state": state.as_str(), "since": NOW.0 - 5000, "boots": 1, "completed": 1, "retransmits": 0,
        "first_seen": 0, "last_seen": 0, "dimms": [],
    });
    serde_json::from_value(text).unwrap()
}

fn board(machines: usize) -> Board {
    let machine = |index| machine(index, State::ALL[index % 10]);
    Board { machines: (0..machines).map(machine).map(Into::into).collect(), ..Board::default() }
}

fn view(board: Board) -> View {
    let mut view = View::default();
    view.board(board);
    view
}

fn screen(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let paint = |frame: &mut ratatui::Frame<'_>| {
        draw(frame, view, NOW);
    };
    terminal.draw(paint).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect()
}

fn press(view: &mut View, code: KeyCode) -> Action {
    view.key(KeyEvent::new(code, KeyModifiers::NONE), 20)
}

#[test]
fn words_of_strangers_do_nothing() {
    assert_eq!(escape("plain ä 中"), "plain ä 中");
    assert_eq!(escape("a\x1b[2J\r\n\u{9b}\u{202e}b\u{200b}"), r"a\u{1b}[2J\u{d}\u{a}\u{9b}\u{202e}b\u{200b}");
    let mut hostile = machine(1, State::Failed);
    hostile.name = Some("\x1b]0;owned\x07node".into());
    hostile.why = Some("x\x1b[31m\u{202e}y\n\u{9b}2J".into());
    let board = Board {
        machines: [hostile.clone().into()].into_iter().collect(),
        lost: vec![Lost { what: "\x1b[2J".into(), since: NOW }],
        ..Board::default()
    };
    let mut out = Vec::new();
    write(&mut out, &board, NOW, &Look::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text}");
    assert!(!text.contains('\u{202e}') && text.contains(r"\u{1b}]0;owned\u{7}node"), "{text}");
    let mut view = view(board);
    let shown = screen(&mut view, 200, 20).join("\n");
    press(&mut view, KeyCode::Enter);
    let step = serde_json::json!({"id":1,"at":0,"mac":"x","event":"e","text":"\x1b[2J"});
    let steps = vec![serde_json::from_value(step).unwrap()];
    view.show(Story { machine: hostile, boots: vec![], steps });
    let story = screen(&mut view, 200, 20).join("\n");
    for text in [shown, story] {
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text}");
        assert!(text.contains(r"\u{1b}]0;owned"), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_cut_by_columns() {
    assert_eq!(
        (cut("abcdef", 4), cut("abcd", 4), cut("中中中", 4), cut("x", 0)),
        ("abc…".into(), "abcd".into(), "中…".into(), String::new())
    );
    let mut out = Vec::new();
    let look = Look { width: Some(60), colour: false };
    write(&mut out, &board(30), NOW, &look).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| width(line) <= 60), "{text}");
    assert_eq!(text.lines().count(), 32);
}

#[test]
fn numbers_are_short() {
    assert_eq!(
        [0, 1023, 1024, 1_500_000, 64 << 30].map(bytes),
        ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "64.0 GiB"]
    );
    assert_eq!([0, 119_000, 120_000, 7_200_000, 172_800_000].map(span), ["0s", "119s", "2m", "2h", "2d"]);
    assert_eq!((bar(0), bar(50), bar(100)), (" ·········".into(), "█████ ····".into(), "██████████".into()));
}

#[test]
fn a_table_tells_what_matters() {
    let mut failed = machine(1, State::Failed);
    failed.why = Some("1 error at 0x12345678 (DIMM_A1)".into());
    let mut loading = machine(2, State::Loading);
    loading.progress = Some(Progress { file: "memtest".into(), bytes: 50, size: 200, bytes_per_s: 2048 });
    let mut out = Vec::new();
    let board = Board { machines: [failed.into(), loading.into()].into_iter().collect(), ..Board::default() };
    write(&mut out, &board, NOW, &Look::default()).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "2 machines  1 failed  1 loading\n\
         STATE    MACHINE                     SINCE  PROGRESS       WHY, OR WHAT IT BOOTS\n\
         failed   node0001 02:00:00:00:00:01  5s                    1 error at 0x12345678 (DIMM_A1)\n\
         loading  node0002 02:00:00:00:00:02  5s     25% 2.0 KiB/s  memtest\n"
    );
}

#[test]
fn responders_and_the_machines_of_others_are_in_the_table() {
    let mut foreign = machine(1, State::Running);
    foreign.responder = Some("rack-2".into());
    let own = Responder {
        name: "rack-1".into(),
        own: true,
        alive: true,
        rules: Some("1".into()),
        ..Responder::default()
    };
    let dead = Responder {
        name: "rack-2\u{1b}".into(),
        seen: Some(UnixMs(NOW.0 - 300_000)),
        segment: Some("lab".into()),
        waiting: 3,
        rules: Some("2".into()),
        ..Responder::default()
    };
    let board = Board {
        machines: [foreign.into()].into_iter().collect(),
        responders: vec![own, dead, Responder { name: "rack-3".into(), ..Responder::default() }],
        ..Board::default()
    };
    let mut out = Vec::new();
    write(&mut out, &board, NOW, &Look::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("responder rack-1  this one  alive\n"), "{text}");
    let second = r"responder rack-2\u{1b}  not alive since 5m  segment lab  3 waiting  other rules";
    assert!(text.contains(second), "{text}");
    assert!(text.contains("node0001 02:00:00:00:00:01 @rack-2"), "{text}");
    let shown = screen(&mut view(board), 120, 20).join("\n");
    assert!(shown.contains("responder rack-2") && !shown.contains("responder rack-1"), "{shown}");
}

#[test]
fn what_needs_attention_is_on_top_and_the_chosen_stays_chosen() {
    let mut view = view(board(40));
    let shown = screen(&mut view, 100, 20);
    assert!(shown[0].starts_with("pxed  40 machines  4 failed  4 returned"), "{}", shown[0]);
    let head = shown.iter().position(|line| line.starts_with("STATE")).unwrap();
    assert!(shown[head + 1].starts_with("failed   node0000"), "{shown:#?}");
    assert!(shown[head + 5].starts_with("returned node0001"), "{shown:#?}");
    press(&mut view, KeyCode::Down);
    assert_eq!(press(&mut view, KeyCode::Enter), Action::Ask("02:00:00:00:00:0a".into()));
    let mut moved = machine(10, State::Passed);
    moved.since = UnixMs(NOW.0 - 1000);
    view.update(Update::Machine { revision: 1, machine: moved.into() });
    assert_eq!(press(&mut view, KeyCode::Enter), Action::Ask("02:00:00:00:00:0a".into()));
    let shown = screen(&mut view, 100, 20);
    assert!(
        shown.iter().any(|line| line.starts_with("passed   node0010")),
        "it is on the screen: {shown:#?}"
    );
    view.update(Update::Forgotten { revision: 2, mac: "02:00:00:00:00:0a".into() });
    assert!(screen(&mut view, 100, 20)[0].starts_with("pxed  39 machines"));
}

#[test]
fn two_thousand_are_paged_through() {
    let mut view = view(board(2000));
    screen(&mut view, 80, 24);
    press(&mut view, KeyCode::End);
    let shown = screen(&mut view, 80, 24);
    assert!(shown[21].starts_with("ignored  node1999"), "{shown:#?}");
    assert!(shown[22].starts_with("memtest (rule lab)"), "the whole reason of the chosen one: {shown:#?}");
    press(&mut view, KeyCode::Home);
    press(&mut view, KeyCode::PageDown);
    assert_eq!(press(&mut view, KeyCode::Enter), Action::Ask("02:00:00:00:00:c8".into()));
    for character in "/node1234".chars() {
        press(&mut view, KeyCode::Char(character));
    }
    assert!(screen(&mut view, 80, 24)[23].starts_with("/node1234_"));
    press(&mut view, KeyCode::Enter);
    assert_eq!(press(&mut view, KeyCode::Enter), Action::Ask("02:00:00:00:04:d2".into()));
    assert!(screen(&mut view, 80, 24)[23].starts_with("/node1234: 1 match"));
    press(&mut view, KeyCode::Esc);
    assert!(screen(&mut view, 80, 24)[23].starts_with("q quit"));
    assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Quit);
}

#[test]
fn a_story_tells_where_the_memory_is_bad() {
    let mut failed = machine(1, State::Failed);
    let error = MemoryError {
        at: NOW,
        address: Some("0x12345678".into()),
        expected: Some("0xff".into()),
        actual: Some("0xfe".into()),
        cpu: Some(3),
        dimm: Some("DIMM_A1".into()),
        count: 2,
    };
    failed.verdict = Some(Verdict {
        outcome: TestOutcome::Fail,
        source: "memtest86+".into(),
        started: NOW,
        heard: NOW,
        passes: 1,
        percent: None,
        memory: None,
        errors: 2,
        first_errors: vec![error],
        corrected: None,
        uncorrected: None,
    });
    let mut view =
        view(Board { machines: [failed.clone().into()].into_iter().collect(), ..Board::default() });
    press(&mut view, KeyCode::Enter);
    view.show(Story { machine: failed.clone(), boots: vec![], steps: vec![] });
    let text = screen(&mut view, 80, 24).join("\n");
    assert!(
        text.contains("error      at 0x12345678, expected 0xff, was 0xfe, DIMM_A1, CPU 3, 2 times"),
        "{text}"
    );
    assert!(text.contains("test       FAIL, 2 errors, 1 pass"), "{text}");
    press(&mut view, KeyCode::Esc);
    assert!(screen(&mut view, 80, 24)[1].starts_with("STATE"), "back at the table");
    view.show(Story { machine: failed, boots: vec![], steps: vec![] });
    assert!(view.story.is_none(), "it was closed");
}

#[test]
fn the_smallest_screens_do_no_harm() {
    let mut view = view(board(30));
    for (width, height) in [(1, 1), (2, 3), (10, 2), (20, 5), (500, 4)] {
        screen(&mut view, width, height);
    }
}

#[test]
fn who_shares_the_segment_comes_first() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let of = |value: &str| network(&json(&format!("{{\"segment\":{value}}}")));
    assert_eq!(of("null"), [""; 0]);
    assert_eq!(network(&serde_json::Value::Null), [""; 0], "a daemon of an earlier version");
    let foreign = network(&json(r#"{"segment":null,"foreign_proxies":"another one"}"#));
    assert_eq!(foreign, ["another one"]);
    assert_eq!(of(r#"{"name":"lab","share":"all","problem":null}"#), ["segment lab: all"]);
    assert_eq!(of(r#"{"name":"lab","share":"all","problem":"away"}"#), ["segment lab: all", "away"]);
}
