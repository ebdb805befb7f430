// The state that several parts of the page share: the machines, which of them are shown in which order, and what must be
// drawn. Other modules read the state, and change it by these functions. Nothing here changes the page.

import { now } from "./times.js";
import { clean, rankOf } from "./words.js";

/** The fleet as the server last described it. An entry is `{ machine, label, key, hay }`; `hay` is the text to search. */
export const fleet = { entries: new Map(), totals: new Map(), base: 0, read: 0, lost: [], responders: [], summary: null, throughput: null };
/** The MAC addresses of machines that have changed since the last frame. */
export const changed = new Set();
const pending = { order: true, header: true, at: -Infinity, scheduled: false };

function entry(machine) {
  const verdict = machine.verdict;
  const error = verdict && verdict.first_errors[0];
  const label = machine.name || machine.mac;
  const hay = [machine.name, machine.mac, machine.mac.replace(/:/g, ""), machine.address, machine.serial, machine.uuid,
    machine.rule, machine.image, machine.arch, machine.firmware, machine.interface, machine.state, machine.why,
    machine.relay, machine.responder, error && error.address, error && error.dimm].filter(Boolean).join("\n").toLowerCase();
  // Numbers are padded, so that node 9 comes before node 10.
  const key = label.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(8, "0"));
  return { machine, label: clean(label), key, hay };
}

function tally(state, by) {
  fleet.totals.set(state, (fleet.totals.get(state) || 0) + by);
  pending.header = true;
}

function put(machine) {
  const old = fleet.entries.get(machine.mac);
  if (old) tally(old.machine.state, -1);
  tally(machine.state, 1);
  // The entry is changed in place, because `order` also holds it until the next reorder.
  fleet.entries.set(machine.mac, Object.assign(old || {}, entry(machine)));
  changed.add(machine.mac);
}

export function takeBoard(board) {
  fleet.entries.clear();
  fleet.totals.clear();
  fleet.base = board.revision;
  board.machines.forEach(put);
  fleet.lost = board.lost;
  fleet.responders = board.responders;
  fleet.read = now();
  pending.at = -Infinity;
  pending.header = true;
  schedule();
}

/** Applies an update. A step changes nothing here; it only shows that the server is alive. */
export function takeUpdate(update) {
  fleet.read = now();
  // The first board already contains this update.
  if (update.revision !== undefined && update.revision <= fleet.base) return;
  if (update.kind === "machine") put(update.machine);
  else if (update.kind === "forgotten" && fleet.entries.has(update.mac)) {
    tally(fleet.entries.get(update.mac).machine.state, -1);
    fleet.entries.delete(update.mac);
    changed.add(update.mac);
  } else if (update.kind === "responders") {
    fleet.responders = update.responders;
    pending.header = true;
  } else if (update.kind === "lost") {
    fleet.lost = update.lost;
    pending.header = true;
  }
  schedule();
}

export function takeSummary(summary, throughput) {
  Object.assign(fleet, { summary, throughput });
  pending.header = true;
  schedule();
}

export const totalOf = (states) => states.reduce((sum, state) => sum + (fleet.totals.get(state) || 0), 0);

// ---- Which machines, in which order ------------------------------------------------------------------------------------

/** The viewer's choices. `list` is the list that is shown; each list has its own order. */
export const choice = { list: "board", states: new Set(), words: [], order: { board: "attention", wall: "name" } };
/** The entries that match the choices, in their order. */
export let order = [];
/** The MAC address of the machine under the cursor, in the board and on the wall. */
export let cursor = null;
export function pointAt(mac) {
  cursor = mac;
}

const byName = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.machine.mac < b.machine.mac ? -1 : 1);
const errorsOf = ({ machine }) => (machine.verdict ? machine.verdict.errors : -1);
export const ORDERS = {
  // By `since`, not by `last_seen`: otherwise each report would move its row.
  attention: (a, b) => rankOf(a.machine.state) - rankOf(b.machine.state) || b.machine.since - a.machine.since || byName(a, b),
  name: byName,
  heard: (a, b) => b.machine.last_seen - a.machine.last_seen || byName(a, b),
  errors: (a, b) => errorsOf(b) - errorsOf(a) || byName(a, b),
  resent: (a, b) => b.machine.retransmits - a.machine.retransmits || byName(a, b),
};

function reorder() {
  const { states, words } = choice;
  order = [];
  for (const candidate of fleet.entries.values()) {
    if (states.size && !states.has(candidate.machine.state)) continue;
    if (words.every((word) => candidate.hay.includes(word))) order.push(candidate);
  }
  order.sort(ORDERS[choice.order[choice.list]]);
}

export function showList(list) {
  choice.list = list;
  reorder();
}
export function showStates(states) {
  choice.states = new Set(states);
  redraw();
}
export function searchFor(text) {
  choice.words = text.toLowerCase().split(/\s+/).filter(Boolean);
  redraw();
}
export function orderBy(name) {
  choice.order[choice.list] = name;
  redraw();
}

// ---- Drawing -----------------------------------------------------------------------------------------------------------

let draw = () => {};
/** Sets the function that draws a frame. It gets the changed machines, and whether the order and the header have changed. */
export function drawWith(callback) {
  draw = callback;
}

export function schedule() {
  if (pending.scheduled) return;
  pending.scheduled = true;
  requestAnimationFrame(frame);
}

/** Draws what has changed. The order changes at most once a second, because rows that move more often cannot be read. */
function frame() {
  pending.scheduled = false;
  pending.order = pending.order || changed.size > 0;
  const due = pending.order && performance.now() - pending.at >= 1000;
  if (due) {
    reorder();
    pending.order = false;
    pending.at = performance.now();
  }
  const { header } = pending;
  pending.header = false;
  draw(changed, due, header);
  changed.clear();
}

/** Draws in the next frame, after an action of the viewer. */
export function redraw() {
  pending.order = true;
  pending.at = -Infinity;
  pending.header = true;
  schedule();
}

/** Draws an order whose second is over. */
export function catchUp() {
  if (pending.order) schedule();
}
