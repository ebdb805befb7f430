//! The loop of `pxed status --watch`: passes the terminal's keys and the daemon's events to the view, and draws it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event as TerminalEvent, KeyEvent, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::draw::draw;
use super::view::{Action, View};
use super::{board, now};
use pxe_fleet::board::{Board, Story, Update};
use pxe_web::api::client::{Client, ClientError, Events};

/// Shortest time between two frames, however many events arrive.
const FRAME: Duration = Duration::from_millis(100);
/// Longest time between two frames, because the times on the screen change.
const TICK: Duration = Duration::from_secs(1);
/// Delay before the next attempt to connect to the daemon.
const AGAIN: Duration = Duration::from_secs(1);
/// Interval at which an open story is read again.
const STORY: Duration = Duration::from_secs(2);

/// A message from the daemon, or that it is away.
enum News {
    Board(Box<Board>),
    Update(Box<Update>),
    Story(Box<Story>),
    Away(String),
}

/// An event of the terminal.
enum Input {
    Key(KeyEvent),
    Resized,
}

/// Restores the terminal however the command ends. After a panic, ratatui's hook does the same.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Runs until the viewer quits or a signal arrives.
pub(super) async fn run(client: Client) -> Result<()> {
    // The first request comes before the terminal is changed, so its error appears on the normal screen.
    let first = board(&client).await?;
    let mut signals = Signals::new()?;
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let _restore = Restore;
    let mut view = View::default();
    view.board(first);
    let (news, mut newest) = mpsc::channel(1024);
    let follower = tokio::spawn(follow(client.clone(), news.clone()));
    let mut keys = keys();
    let mut frame = tokio::time::interval(FRAME);
    let mut tick = tokio::time::interval(TICK);
    let mut stories = tokio::time::interval(STORY);
    let (mut stale, mut page) = (true, 1);
    loop {
        tokio::select! {
            () = signals.any() => break,
            input = keys.recv() => match input {
                None => break,
                Some(Input::Resized) => stale = true,
                Some(Input::Key(key)) => {
                    match view.key(key, page) {
                        Action::Quit => break,
                        Action::Ask(mac) => ask(client.clone(), news.clone(), mac),
                        Action::Nothing => {}
                    }
                    page = show(&mut terminal, &mut view)?;
                }
            },
            Some(news) = newest.recv() => {
                take(&mut view, news);
                stale = true;
            }
            _ = stories.tick() => if let Some(story) = &view.story {
                ask(client.clone(), news.clone(), story.machine.mac.clone());
            },
            _ = tick.tick() => stale = true,
            _ = frame.tick(), if stale => {
                page = show(&mut terminal, &mut view)?;
                stale = false;
            }
        }
    }
    follower.abort();
    Ok(())
}

fn show(terminal: &mut ratatui::DefaultTerminal, view: &mut View) -> Result<usize> {
    let mut page = 1;
    terminal.draw(|frame| page = draw(frame, view, now())).context("cannot draw on this terminal")?;
    Ok(page.max(1))
}

fn take(view: &mut View, news: News) {
    match news {
        News::Board(board) => view.board(*board),
        News::Update(update) => view.update(*update),
        News::Story(story) => view.show(*story),
        News::Away(why) => view.away = Some(why),
    }
}

struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let open = |kind| signal(kind).context("cannot receive signals");
        Ok(Self([
            open(SignalKind::terminate())?,
            open(SignalKind::interrupt())?,
            open(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Reads keys in a thread of its own, since the read blocks. The thread ends with the process.
fn keys() -> mpsc::Receiver<Input> {
    let (sender, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let input = match event {
                TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
                TerminalEvent::Resize(..) => Input::Resized,
                _ => continue,
            };
            if sender.blocking_send(input).is_err() {
                return;
            }
        }
    });
    keys
}

fn ask(client: Client, news: mpsc::Sender<News>, mac: String) {
    tokio::spawn(async move {
        let Ok(body) = client.get(&format!("/api/v1/machines/{mac}")).await else { return };
        if let Ok(story) = serde_json::from_slice(&body) {
            let _ = news.send(News::Story(Box::new(story))).await;
        }
    });
}

/// Follows the daemon's event stream, and reconnects when the connection breaks. Ends only with the receiver.
async fn follow(client: Client, news: mpsc::Sender<News>) {
    loop {
        let why = match stream(&client, &news).await {
            Ok(()) => "the daemon closed the connection".to_owned(),
            Err(error) => error.to_string(),
        };
        if news.send(News::Away(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn stream(client: &Client, news: &mpsc::Sender<News>) -> Result<(), ClientError> {
    let mut events = Events::new(client.stream("/api/v1/events").await?);
    let bad = |error: serde_json::Error| ClientError::Unintelligible(error.to_string());
    while let Some(event) = events.next().await? {
        let told = match event.name.as_str() {
            "board" => News::Board(serde_json::from_str(&event.data).map_err(bad)?),
            "" => News::Update(serde_json::from_str(&event.data).map_err(bad)?),
            "reload" => {
                News::Board(serde_json::from_slice(&client.get(super::MACHINES).await?).map_err(bad)?)
            }
            _ => continue,
        };
        if news.send(told).await.is_err() {
            break;
        }
    }
    Ok(())
}
