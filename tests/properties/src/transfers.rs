//! Clients fetch files over a network that loses, repeats, delays and forges packets, as a script says.

use std::time::Duration;

use pxe_content::boot::Refusal;

use super::script::Script;
use super::world::{IMAGES, PORTS, World, client};
use crate::frames::OWN;

/// Takes any bytes as a script: a byte for each step, then its arguments.
pub fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut world = World::new();
    while let Some(step) = script.step() {
        match step % 12 {
            0 | 1 => ask(&mut world, &mut script),
            2 | 3 => acknowledge(&mut world, &mut script),
            4 => load(&mut world, &mut script),
            5 => {
                world.wait(Duration::from_millis(script.pick([1, 20, 100, 300, 1000, 3000, 10_000, 60_000])))
            }
            6 => error(&mut world, &mut script),
            7 => anything(&mut world, &mut script),
            8 => world.host.room = script.pick([0, 1, 3, u64::MAX]),
            9 => {
                let doors = script.byte();
                (world.host.opens, world.host.loads) = (doors & 1 == 0, doors & 2 == 0);
            }
            10 => world.host.carries = !world.host.carries,
            _ => world.event(|responder, host| responder.poll(host.now, host)),
        }
    }
    while !world.host.orders.is_empty() {
        load(&mut world, &mut Script(&[]));
    }
    world.settle();
}

/// A client sends a request for a file. There are few different requests, so some are repeated exactly.
fn ask(world: &mut World, script: &mut Script<'_>) {
    let (from, what) = (client(script.byte()), script.byte());
    let mut packet = [b"\0\x01file-", [b'a' + what % 2].as_slice(), b"\0octet\0"].concat();
    let mut option = |name: &str, value: &str| packet.extend(format!("{name}\0{value}\0").bytes());
    match what >> 1 & 3 {
        0 => {}
        1 => option("blksize", "8"),
        2 => option("blksize", "1024"),
        _ => option("blksize", "65464"),
    }
    match what >> 3 & 3 {
        0 | 1 => {}
        2 => option("windowsize", "2"),
        _ => option("windowsize", "65535"),
    }
    match what >> 5 & 3 {
        0 => {}
        1 => option("tsize", "0"),
        2 => option("timeout", "1"),
        _ => option("timeout", "255"),
    }
    world.say(from, 69, &packet);
}

/// A client acknowledges a block: one of the last that were sent, or one that was not sent.
fn acknowledge(world: &mut World, script: &mut Script<'_>) {
    let (from, behind) = (client(script.byte()), script.pick([0, 0, 0, 1, 2, 3, 5, u64::MAX]));
    let port = world.host.tid_of(from).unwrap_or(PORTS.first);
    let highest = world.host.open.get(&(from, port)).map_or(0, |session| session.highest);
    let [high, low] = (highest.wrapping_sub(behind) as u16).to_be_bytes();
    world.say(from, port, &[0, 4, high, low]);
}

/// The loader answers with a file or with a refusal.
fn load(world: &mut World, script: &mut Script<'_>) {
    let which = usize::from(script.byte());
    let Some(id) = world.host.orders.pop_front() else { return };
    let file = IMAGES.get(which % (IMAGES.len() + 1)).cloned().ok_or(Refusal::NotFound);
    let name = "file".parse().expect("a name");
    world.event(|responder, host| responder.loaded(host.now, id, &name, file, host));
}

fn error(world: &mut World, script: &mut Script<'_>) {
    let (from, code) = (client(script.byte()), script.pick([0, 1, 4, 8]));
    let port = world.host.tid_of(from).unwrap_or(69);
    world.say(from, port, &[0, 5, 0, code, 0]);
}

/// Any bytes arrive from any address at any port.
pub(super) fn anything(world: &mut World, script: &mut Script<'_>) {
    let mut from = client(script.byte());
    match script.byte() {
        250 => from.set_ip([255; 4].into()),
        251 => from.set_ip([10, 99, 0, 255].into()),
        252 => from.set_ip([224, 0, 0, 1].into()),
        253 => from.set_ip(OWN),
        254 => from.set_port(script.pick([0, 67, 69, 4011])),
        _ => {}
    }
    let own = world.host.tid_of(from).unwrap_or(PORTS.first);
    let port = script.pick([69, own, own, PORTS.first + PORTS.count - 1, 67, 4011, 1]);
    let len = usize::from(script.byte());
    world.say(from, port, script.bytes(len));
}
