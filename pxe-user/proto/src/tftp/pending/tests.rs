//! The queue of requests that wait: each event in each state, and the order compared with a plain list.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn client(n: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 2000 + n)
}

/// A queue in which the data of the caller is the fingerprint of the request.
struct Desk(PendingQueue<u64>);

impl Desk {
    fn ask(&mut self, at: u64, n: u16, request: u64) -> Enqueued {
        self.0.ask(ms(at), client(n), request, request)
    }

    fn next(&mut self) -> Option<(u16, u64)> {
        self.0.pop().map(|waiter| {
            assert_eq!(waiter.request, waiter.context);
            (waiter.client.port() - 2000, waiter.context)
        })
    }

    /// The clients that leave at this time, and whether they are refused.
    fn expire(&mut self, at: u64) -> Vec<(u16, bool)> {
        let left = std::iter::from_fn(|| self.0.expire(ms(at))).map(|left| match left {
            Dequeued::Refused(waiter) => (waiter.client.port() - 2000, true),
            Dequeued::Forgotten(waiter) => (waiter.client.port() - 2000, false),
        });
        left.collect()
    }

    /// The next time at which clients leave, in ms, and these clients.
    fn expiry(&mut self) -> Option<(u64, Vec<(u16, bool)>)> {
        let at = self.0.next_deadline()?.as_micros() / 1000;
        assert_eq!(self.expire(at - 1), []);
        Some((at, self.expire(at)))
    }
}

fn room(places: usize) -> Desk {
    Desk(PendingQueue::new(places))
}

#[test]
fn transition_table() {
    type Make = fn() -> Desk;
    fn nobody() -> Desk {
        room(2)
    }
    fn silent() -> Desk {
        let mut desk = room(1);
        desk.ask(0, 1, 7);
        desk
    }
    fn alive() -> Desk {
        let mut desk = silent();
        desk.ask(250, 1, 7);
        desk
    }
    // State, client and request -> result, next request to be admitted, time and client that leaves, whether
    // refused.
    type Case = (&'static str, Make, (u16, u64), Enqueued, (u16, u64), (u64, u16, bool));
    let table: &[Case] = &[
        ("nobody", nobody, (1, 7), Enqueued::Waits, (1, 7), (12_000, 1, false)),
        ("silent", silent, (1, 7), Enqueued::Again, (1, 7), (15_000, 1, true)),
        ("silent", silent, (1, 8), Enqueued::Changed, (1, 8), (12_000, 1, false)),
        ("silent", silent, (2, 7), Enqueued::Displaces, (2, 7), (12_000, 2, false)),
        ("alive", alive, (1, 7), Enqueued::Again, (1, 7), (15_000, 1, true)),
        ("alive", alive, (1, 8), Enqueued::Changed, (1, 8), (16_000, 1, true)),
        ("alive", alive, (2, 7), Enqueued::NoPlace, (1, 7), (15_000, 1, true)),
    ];
    for (name, make, (n, request), asked, next, (at, who, refused)) in table {
        let case = format!("{name}, {n} asks for {request}");
        let mut desk = make();
        assert_eq!(desk.ask(1000, *n, *request), *asked, "{case}");
        assert_eq!(desk.expiry(), Some((*at, vec![(*who, *refused)])), "{case}");
        assert!(desk.0.is_empty() && !desk.0.anyone_alive(), "{case}");
        let mut desk = make();
        desk.ask(1000, *n, *request);
        assert_eq!((desk.next(), desk.next(), desk.0.next_deadline()), (Some(*next), None, None), "{case}");
    }
}

#[test]
fn who_asked_again_comes_first_and_each_in_turn() {
    let mut desk = room(8);
    for n in 1..=6 {
        desk.ask(0, n, 7);
    }
    for n in [5, 2, 4] {
        desk.ask(100, n, 7);
    }
    let order: Vec<_> = std::iter::from_fn(|| desk.next()).map(|(n, _)| n).collect();
    assert_eq!(order, [2, 4, 5, 1, 3, 6]);
}

/// When each client sends its request, in ms, and when it gives up; from clients.md, section 2.
fn manners() -> [(&'static str, Vec<u64>, u64); 5] {
    let every = |step: u64, times: u64| (0..times).map(|n| n * step).collect::<Vec<_>>();
    let grub = (0..40u64).map(|n| (0..n).map(|n| 400 + 20 * n).sum()).collect();
    // The table of PXELINUX, in ticks of 55 ms.
    let ticks = [
        2u64, 2, 3, 3, 4, 5, 6, 7, 9, 10, 12, 15, 18, 21, 26, 31, 37, 44, 53, 64, 77, 92, 110, 132, 159, 191,
        229, 255, 255, 255, 255,
    ];
    let pxelinux = (0..ticks.len()).map(|n| ticks[..n].iter().sum::<u64>() * 55).collect();
    [
        ("iPXE", vec![0, 250, 750, 1750, 3750, 7750], 15_750),
        ("EDK2", every(4000, 6), 24_000),
        ("GRUB", grub, 31_600),
        ("U-Boot", every(5000, 10), 50_000),
        ("PXELINUX", pxelinux, 131_000),
    ]
}

/// pxed refuses no client that would still accept the file, except clients that wait longer than 42 s. A
/// client that has given up does not keep its place for long.
#[test]
fn patience_is_the_clients_own() {
    for (name, asks, gives_up) in manners() {
        let mut desk = room(1);
        let mut left = None;
        for at in asks {
            if let Some(end) = desk.0.next_deadline().filter(|end| *end <= ms(at)) {
                left = Some(end);
                break;
            }
            desk.ask(at, 1, 7);
        }
        let left = left.or(desk.0.next_deadline()).unwrap().as_micros() / 1000;
        assert!(left >= (gives_up - 750).min(42_000), "{name} is turned away after {left} ms");
        assert!(left <= (gives_up + 7000).min(45_000), "{name} has its place for {left} ms");
        // iPXE still receives the ERROR, and so do the clients that wait for minutes.
        assert!(left < gives_up || matches!(name, "EDK2" | "GRUB"), "{name}: {left}");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask(u16, u64),
    Next,
    Sleep(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u16..10, 0u64..2).prop_map(|(n, request)| Act::Ask(n, request)),
        2 => Just(Act::Next),
        2 => prop_oneof![0u64..300, 0u64..9000].prop_map(Act::Sleep),
    ]
}

/// A request in the plain list, oldest first.
#[derive(Clone, Debug)]
struct Plain {
    n: u16,
    request: u64,
    since: u64,
    heard: u64,
    alive: bool,
}

impl Plain {
    fn ends(&self) -> u64 {
        match self.alive {
            true => (self.since + 15_000).max(self.heard + 7000).min(self.since + 45_000),
            false => self.since + 11_000,
        }
    }
}

const PLACES: usize = 5;

fn model_ask(model: &mut Vec<Plain>, now: u64, n: u16, request: u64) -> Enqueued {
    if let Some(known) = model.iter_mut().find(|known| known.n == n) {
        known.heard = now;
        if known.request == request {
            known.alive = true;
            return Enqueued::Again;
        }
        (known.request, known.since) = (request, now);
        return Enqueued::Changed;
    }
    let full = model.len() == PLACES;
    if full {
        let Some(oldest) = model.iter().position(|one| !one.alive) else { return Enqueued::NoPlace };
        model.remove(oldest);
    }
    model.push(Plain { n, request, since: now, heard: now, alive: false });
    if full { Enqueued::Displaces } else { Enqueued::Waits }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The queue behaves like a plain list: the oldest request that is alive leaves first, or else the
    /// oldest. It never grows.
    #[test]
    fn order_and_bounds(acts in prop::collection::vec(act(), 0..200)) {
        let mut desk = room(PLACES);
        let grown = |desk: &Desk| (desk.0.by_client.capacity(), desk.0.free.capacity());
        let before = grown(&desk);
        let mut model: Vec<Plain> = Vec::new();
        let mut now = 0;
        for act in acts {
            match act {
                Act::Ask(n, request) => {
                    let expected = model_ask(&mut model, now, n, request);
                    prop_assert_eq!(desk.ask(now, n, request), expected);
                }
                Act::Next => {
                    let first = model.iter().position(|one| one.alive).unwrap_or(0);
                    let expected = (!model.is_empty()).then(|| model.remove(first));
                    prop_assert_eq!(desk.next(), expected.map(|one| (one.n, one.request)));
                }
                Act::Sleep(time) => {
                    now += time;
                    let mut gone: Vec<_> =
                        model.iter().filter(|one| one.ends() <= now).map(|one| (one.n, one.alive)).collect();
                    model.retain(|one| one.ends() > now);
                    let mut left = desk.expire(now);
                    left.sort_unstable();
                    gone.sort_unstable();
                    prop_assert_eq!(left, gone);
                }
            }
            prop_assert_eq!(desk.0.len(), model.len());
            prop_assert_eq!(desk.0.anyone_alive(), model.iter().any(|one| one.alive));
            let ends = desk.0.next_deadline().map(|at| at.as_micros() / 1000);
            prop_assert_eq!(ends, model.iter().map(Plain::ends).min());
            prop_assert_eq!(grown(&desk), before);
        }
    }
}
