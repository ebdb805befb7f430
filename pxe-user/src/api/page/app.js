// The fleet's page: the board, the wall, one machine, the server. It reads `/api/v1` and follows its event stream.
//
//   event stream --> fleet (a map of machines) --> order (filtered, sorted; at most once a second) --> the view that is shown
//
// Nothing is drawn when an update arrives: it marks its machine, and the next animation frame draws what is marked and in
// sight. All texts come from machines that may be hostile: they reach the page as text nodes only, and through `clean`.

// ---- Words and signs ---------------------------------------------------------------------------------------------------

/** The states in the order of attention, as in board.rs; `sign` is a path in a square of 16. */
const STATES = [
  { id: "failed", word: "Failed", sign: "M4 4l8 8M12 4l-8 8" },
  { id: "returned", word: "Returned", sign: "M6.5 3L3.5 6l3 3M4 6h5.5a3.3 3.3 0 0 1 0 6.6H6" },
  { id: "silent", word: "Silent", sign: "M5.4 5.8a2.6 2.6 0 1 1 3.7 2.4C8.3 8.6 8 9.1 8 10M8 12.9v.1" },
  { id: "loading", word: "Loading", sign: "M8 2.5v7.5M4.5 6.8L8 10.3l3.5-3.5M3.5 13.5h9" },
  { id: "offered", word: "Offered", sign: "M3 8h9.5M8.7 4.2L12.5 8l-3.8 3.8" },
  { id: "seen", word: "Seen", sign: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z" },
  { id: "running", word: "Running", sign: "M5.5 3.5v9l7-4.5z" },
  { id: "passed", word: "Passed", sign: "M3.5 8.5l3 3 6-7" },
  { id: "local", word: "Local disk", sign: "M2.8 7.6L8 3l5.2 4.6M4.5 7v6h7V7" },
  { id: "ignored", word: "Ignored", sign: "M3.5 8h9" },
];
const ATTENTION = ["failed", "returned", "silent"];
const FIGURES = [
  { word: "need attention", states: ATTENTION },
  { word: "on their way", states: ["loading", "offered", "seen"] },
  { word: "running", states: ["running"] },
  { word: "passed", states: ["passed"] },
];
const RANK = new Map(STATES.map((state, rank) => [state.id, rank]));
/** A state of a later version is shown by its name, and after those that are known. */
const stateOf = (id) => STATES[RANK.get(id)] || { id: "seen", word: clean(id), sign: STATES[5].sign };
const rankOf = (id) => (RANK.has(id) ? RANK.get(id) : STATES.length);

const NONE = "\u2013";
/** Makes visible what would hide or reorder a text: control, format and unassigned characters, lone surrogates. */
const clean = (text) => String(text)
  .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);
const number = new Intl.NumberFormat("en", { useGrouping: true });
const count = (n) => number.format(n).replace(/,/g, "\u202f");
const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
const joined = (parts) => parts.filter((part) => part !== null && part !== undefined && part !== "").join(" \u00b7 ");

function scaled(n, step, units) {
  let unit = 0;
  while (n >= step && unit < units.length - 1) {
    n /= step;
    unit += 1;
  }
  return `${n >= 100 || unit === 0 || Number.isInteger(n) ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}
const bytes = (n) => scaled(n, 1000, ["B", "kB", "MB", "GB", "TB"]);
const speed = (n) => `${bytes(n)}/s`;
const memory = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const millis = (ms) => (ms < 1000 ? `${ms} ms` : ms < 100000 ? `${(ms / 1000).toFixed(1)} s` : span(ms));

/** A length of time, as coarse as people need it: what is long ago ticks slowly. */
function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}
const two = (n) => String(n).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** A day and a time; the year is said only if it is another one. */
const moment = (date, present) => `${date.getDate()} ${MONTHS[date.getMonth()]} ${
  date.getFullYear() === present.getFullYear() ? "" : `${date.getFullYear()} `}${clock(date)}`;

// ---- Elements ----------------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** An element. Properties are set as properties, `data` as data attributes, `attrs` as attributes; strings become text. */
function h(tag, { data = {}, attrs = {}, ...props } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function s(tag, attrs = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const sign = (id) => s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: stateOf(id).sign }));
const mark = (id) => h("span", { className: "mark", data: { state: stateOf(id).id } }, sign(id));

/** Sets a text, and touches the page only if it is another one. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function tell(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** The server's clock less ours, if they are apart: since-times must not depend on the viewer's clock. */
let skew = 0;
const now = () => Date.now() + skew;

/** Shows a time that ticks (`ago`: how long ago, `for`: for how long) or stands (`clock`). */
function setTime(node, at, form) {
  if (node.dataset.at === String(at) && node.dataset.form === form) return;
  node.dataset.at = at;
  node.dataset.form = form;
  const date = new Date(at);
  const known = at > 0 && !Number.isNaN(date.getTime());
  node.dateTime = known ? date.toISOString() : "";
  node.title = known ? `${day(date)} ${clock(date)} (UTC ${date.toISOString().slice(0, 19).replace("T", " ")})` : "";
  tick(node);
}
function tick(node) {
  const at = Number(node.dataset.at);
  if (!node.dateTime) say(node, "time unknown");
  else if (node.dataset.form === "clock") say(node, moment(new Date(at), new Date(now())));
  else say(node, node.dataset.form === "for" ? `for ${span(now() - at)}` : span(now() - at));
}
function time(at, form) {
  const node = h("time");
  setTime(node, at, form);
  return node;
}

/** Makes `parent` hold `nodes` between its first and last fixed children, moving as few as possible, and keeps the focus. */
function arrange(parent, nodes, before = null, after = null) {
  const focused = document.activeElement;
  let place = before ? before.nextSibling : parent.firstChild;
  for (const node of nodes) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  while (place !== after) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
}

// ---- The fleet ---------------------------------------------------------------------------------------------------------

/** What is known, and what is to be drawn. An entry is `{ machine, label, key, hay }`. */
const fleet = { entries: new Map(), totals: new Map(), base: 0, read: 0, lost: [], summary: null, throughput: null };
const pending = { machines: new Set(), order: true, header: true, at: -Infinity, scheduled: false };

function entry(machine) {
  const verdict = machine.verdict;
  const error = verdict && verdict.first_errors[0];
  const label = machine.name || machine.mac;
  const hay = [machine.name, machine.mac, machine.mac.replace(/:/g, ""), machine.address, machine.serial, machine.uuid,
    machine.rule, machine.image, machine.arch, machine.firmware, machine.interface, machine.state, machine.why,
    machine.relay, error && error.address, error && error.dimm].filter(Boolean).join("\n").toLowerCase();
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
  fleet.entries.set(machine.mac, entry(machine));
  pending.machines.add(machine.mac);
}

function takeBoard(board) {
  fleet.entries.clear();
  fleet.totals.clear();
  fleet.base = board.revision;
  board.machines.forEach(put);
  fleet.lost = board.lost;
  fleet.read = now();
  pending.at = -Infinity;
  pending.header = true;
  schedule();
}

function takeUpdate(update) {
  fleet.read = now();
  // What the board that we began with knew already.
  if (update.revision !== undefined && update.revision <= fleet.base) return;
  if (update.kind === "machine") put(update.machine);
  else if (update.kind === "forgotten" && fleet.entries.has(update.mac)) {
    tally(fleet.entries.get(update.mac).machine.state, -1);
    fleet.entries.delete(update.mac);
    pending.machines.add(update.mac);
  } else if (update.kind === "step") machineView.step(update.step);
  else if (update.kind === "lost") {
    fleet.lost = update.lost;
    pending.header = true;
  }
  schedule();
}

const totalOf = (states) => states.reduce((sum, state) => sum + (fleet.totals.get(state) || 0), 0);

// ---- Which machines, in which order ------------------------------------------------------------------------------------

const choice = { states: new Set(), words: [], order: { board: "attention", wall: "name" } };
let order = [];
/** The machine that the keyboard is at, in the board and on the wall. */
let cursor = null;

const byName = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.machine.mac < b.machine.mac ? -1 : 1);
const errorsOf = ({ machine }) => (machine.verdict ? machine.verdict.errors : -1);
const ORDERS = {
  // By `since`, not by when they were heard of: that would move every row with every report.
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
  order.sort(ORDERS[choice.order[view === wallView ? "wall" : "board"]]);
  const all = fleet.entries.size;
  say($("shown"), order.length === all ? many(all, "machine") : `${count(order.length)} of ${many(all, "machine")}`);
}

/** What a list says that has nothing to show. */
function emptiness(node) {
  node.hidden = order.length > 0;
  if (fleet.read === 0) say(node, "Reading the board \u2026");
  else if (fleet.entries.size === 0) say(node, "No machine has asked to be booted yet. Switch one on and let it boot from the network.");
  else say(node, "No machine matches the filters and the search.");
}

/** Moves the keyboard's place in `order`; answers the new index, or -1 for keys that are none of ours. */
function moved(key, line, page) {
  const at = order.findIndex(({ machine }) => machine.mac === cursor);
  const steps = { ArrowDown: line, ArrowUp: -line, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    ArrowRight: line > 1 ? 1 : 0, ArrowLeft: line > 1 ? -1 : 0 };
  if (!steps[key] || order.length === 0) return -1;
  const next = Math.min(order.length - 1, Math.max(0, at + steps[key]));
  cursor = order[next].machine.mac;
  return next;
}
const noModifier = (event) => !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey;
const linkTo = (mac) => `#/m/${encodeURIComponent(mac)}`;

// ---- What is said of a machine -----------------------------------------------------------------------------------------

/** What it does now: a sentence, and how far it is in per cent, if anything moves. */
function doing({ state, why, progress, verdict }) {
  if (progress) {
    const percent = progress.size > 0 ? Math.min(100, Math.floor(progress.bytes / progress.size * 100)) : 0;
    return { percent, text: joined([`${percent} %`, speed(progress.bytes_per_s), clean(progress.file)]) };
  }
  if (verdict && verdict.percent !== null && state === "running") {
    return { percent: verdict.percent, text: joined([`Pass ${verdict.passes + 1}, ${verdict.percent} %`, why && clean(why)]) };
  }
  return { percent: null, text: why ? clean(why) : "" };
}

const OUTCOMES = { testing: "No errors so far", pass: "Pass", fail: "FAIL" };
const place = (error) => joined([error.address && clean(error.address), error.dimm && clean(error.dimm)]);

/** What is known of its memory, in two lines. */
function judged(verdict) {
  if (!verdict) return { title: NONE, detail: "" };
  const title = verdict.outcome === "fail" ? `FAIL, ${many(verdict.errors, "error")}` : OUTCOMES[verdict.outcome] || clean(verdict.outcome);
  const first = verdict.first_errors[0];
  const where = verdict.outcome === "fail" && first ? place(first) : "";
  const detail = joined([
    where,
    verdict.corrected ? `${count(verdict.corrected)} corrected` : null,
    verdict.uncorrected ? `${count(verdict.uncorrected)} uncorrected` : null,
    where ? null : many(verdict.passes, "pass", "passes"),
    verdict.memory && !where ? memory(verdict.memory) : null,
  ]);
  return { title, detail };
}

/** One sentence, for the line below the wall. */
function sentence({ machine, label }) {
  const { title, detail } = judged(machine.verdict);
  return joined([`${label}: ${stateOf(machine.state).word}`, doing(machine).text, machine.verdict ? `${title} (${detail})` : null]);
}

// ---- The board ---------------------------------------------------------------------------------------------------------

/** The table draws only the rows in sight; two spacers stand for the others. All rows have the same height. */
const boardView = {
  node: $("board"),
  rows: new Map(),
  spacers: [0, 1].map(() => h("tr", { className: "spacer", attrs: { role: "presentation", "aria-hidden": "true" } })),
  scroll: 0,

  start() {
    $("rows").append(...this.spacers);
    $("table").addEventListener("keydown", (event) => this.key(event));
    $("rows").addEventListener("focusin", (event) => {
      const row = event.target.closest("tr");
      if (row.dataset.mac !== cursor) this.point(row.dataset.mac);
    });
  },

  rowHeight() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    return parseFloat(getComputedStyle($("table")).getPropertyValue("--row")) * rem;
  },

  draw(changed, reordered) {
    const height = this.rowHeight();
    const top = this.spacers[0].getBoundingClientRect().top;
    // In steps of eight, so that few frames of a scroll have to change anything.
    const sight = Math.ceil(innerHeight / height) + 24;
    const first = Math.max(0, Math.min(order.length - sight, (Math.floor(-top / height / 8) - 1) * 8));
    const slice = order.slice(first, first + sight);
    const rows = new Map();
    for (const item of slice) {
      const { mac } = item.machine;
      const row = this.rows.get(mac) || this.row(mac);
      rows.set(mac, row);
      if (changed.has(mac) || !this.rows.has(mac)) this.fill(row, item);
    }
    if (reordered || first !== this.first || slice.length !== this.rows.size) {
      slice.forEach((item, i) => tell(rows.get(item.machine.mac), "aria-rowindex", String(first + i + 2)));
      tell($("table"), "aria-rowcount", String(order.length + 1));
      this.spacers[0].style.height = `${first * height}px`;
      this.spacers[1].style.height = `${Math.max(0, order.length - first - slice.length) * height}px`;
      arrange($("rows"), rows.values(), this.spacers[0], this.spacers[1]);
      this.first = first;
    }
    this.rows = rows;
    if (!rows.has(cursor)) this.reachable(order[Math.max(0, Math.ceil(-top / height))]);
    emptiness($("board-empty"));
  },

  /** Tab reaches one row, the arrows all: with the keyboard's row out of sight, the first in sight takes its place. */
  reachable(visible) {
    for (const [mac, row] of this.rows) this.link(row).tabIndex = visible && visible.machine.mac === mac ? 0 : -1;
  },

  link: (row) => row.querySelector("a"),

  row(mac) {
    const row = $("row").content.firstElementChild.cloneNode(true);
    row.dataset.mac = mac;
    const link = this.link(row);
    link.href = linkTo(mac);
    link.tabIndex = mac === cursor ? 0 : -1;
    const [state, who, doingCell, memoryCell, plan, boots, heard] = row.cells;
    row.parts = { state, who, doingCell, memoryCell, plan, boots, heard };
    return row;
  },

  fill(row, { machine, label }) {
    const { state, who, doingCell, memoryCell, plan, boots, heard } = row.parts;
    const shown = stateOf(machine.state);
    if (row.dataset.state !== shown.id) {
      row.dataset.state = shown.id;
      row.toggleAttribute("data-attention", ATTENTION.includes(shown.id));
      state.firstChild.replaceChildren(sign(shown.id));
    }
    say(state.children[1], shown.word);
    setTime(state.children[2], machine.since, "for");
    say(who.querySelector("bdi"), label);
    tell(who.firstChild, "title", label);
    say(who.lastChild, joined([machine.name && machine.mac, machine.address].map((text) => text && clean(text))));
    const { percent, text } = doing(machine);
    const bar = doingCell.firstChild;
    bar.hidden = percent === null;
    if (percent !== null) bar.value = percent;
    tell(bar, "aria-label", machine.progress ? "Loaded" : "Pass");
    say(doingCell.lastChild, text);
    tell(doingCell, "title", text);
    const { title, detail } = judged(machine.verdict);
    memoryCell.dataset.outcome = machine.verdict ? machine.verdict.outcome : "";
    say(memoryCell.firstChild, title);
    say(memoryCell.lastChild, detail);
    tell(memoryCell, "title", detail);
    say(plan.firstChild, machine.image ? clean(machine.image) : NONE);
    say(plan.lastChild, joined([machine.rule, machine.arch].map((part) => part && clean(part))));
    tell(plan, "title", plan.textContent);
    say(boots.firstChild, machine.boots ? `${machine.completed} of ${machine.boots}` : NONE);
    say(boots.lastChild, machine.retransmits ? `${count(machine.retransmits)} resent` : "");
    setTime(heard.firstChild, machine.last_seen, "ago");
  },

  point(mac) {
    const old = this.rows.get(cursor);
    cursor = mac;
    for (const row of this.rows.values()) this.link(row).tabIndex = -1;
    if (old) this.link(old).tabIndex = -1;
    if (this.rows.has(mac)) this.link(this.rows.get(mac)).tabIndex = 0;
  },

  key(event) {
    if (!noModifier(event)) return;
    const height = this.rowHeight();
    const next = moved(event.key, 1, Math.max(1, Math.floor(innerHeight / height) - 3));
    if (next < 0) return;
    event.preventDefault();
    const top = this.spacers[0].getBoundingClientRect().top + next * height;
    const margin = height * 1.5;
    if (top < margin) scrollBy(0, top - margin);
    else if (top + height > innerHeight - margin) scrollBy(0, top + height - innerHeight + margin);
    this.draw(pending.machines, false);
    this.point(cursor);
    this.link(this.rows.get(cursor)).focus({ preventScroll: true });
  },
};

// ---- The wall ----------------------------------------------------------------------------------------------------------

/** Shapes of tiles, the best first: from how high to how low in pixels, and the width for a height. */
const TILES = [
  { size: "large", from: 110, to: 54, width: (height) => height * 2.6 },
  { size: "medium", from: 53, to: 30, width: (height) => Math.max(112, height * 2.6) },
  { size: "small", from: 44, to: 16, width: (height) => height * 1.15 },
];

/** The largest tiles by which so many are in sight at once in a space, stretched to fill it; else the smallest. */
function tiling(total, width, height) {
  let least;
  for (const shape of TILES) {
    for (let high = shape.from; high >= shape.to; high -= 1) {
      const gap = Math.min(6, Math.max(1, Math.round(high / 12)));
      const columns = Math.max(1, Math.floor((width + gap) / (shape.width(high) + gap)));
      const rows = Math.ceil(total / columns);
      least = { size: shape.size, columns, high, gap };
      const room = Math.floor((height + gap) / rows - gap);
      if (room >= high) return { ...least, high: Math.min(room, Math.round(high * 1.25)) };
    }
  }
  return least;
}

const wallView = {
  node: $("wall"),
  tiles: new Map(),
  columns: 1,

  start() {
    const tiles = $("tiles");
    tiles.addEventListener("keydown", (event) => this.key(event));
    tiles.addEventListener("focusin", (event) => this.point(event.target.dataset.mac));
    tiles.addEventListener("pointerover", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.inspect(tile.dataset.mac);
    });
    tiles.addEventListener("pointerleave", () => this.inspect(null));
    tiles.addEventListener("focusout", () => this.inspect(null));
  },

  draw(changed, reordered) {
    const tiles = new Map();
    for (const item of order) {
      const { mac } = item.machine;
      const tile = this.tiles.get(mac) || this.tile(mac);
      tiles.set(mac, tile);
      if (changed.has(mac) || !this.tiles.has(mac)) this.fill(tile, item);
    }
    if (reordered || tiles.size !== this.tiles.size) {
      arrange($("tiles"), tiles.values());
      this.tiles = tiles;
      this.fit();
      if (!tiles.has(cursor) && order.length) tiles.get(order[0].machine.mac).tabIndex = 0;
    }
    if (reordered || changed.has(this.inspected)) this.inspect(this.inspected);
    emptiness($("wall-empty"));
  },

  /** Takes the largest tiles by which all machines are in sight at once. */
  fit() {
    const width = $("tiles").clientWidth;
    const height = Math.max(200, innerHeight - ($("tiles").getBoundingClientRect().top + scrollY) - $("inspector").offsetHeight - 4);
    const { size, columns, high, gap } = tiling(order.length, width, height);
    this.columns = columns;
    $("tiles").dataset.size = size;
    const { style } = $("tiles");
    style.setProperty("--columns", columns);
    style.setProperty("--tile", `${high}px`);
    style.setProperty("--gap", `${gap}px`);
  },

  tile(mac) {
    return h("a", { className: "tile", href: linkTo(mac), tabIndex: mac === cursor ? 0 : -1, data: { mac } },
      s("svg"), h("span", {}, h("b", {}, h("bdi")), " ", h("small")));
  },

  fill(tile, { machine, label }) {
    const { id, word } = stateOf(machine.state);
    if (tile.dataset.state !== id) {
      tile.dataset.state = id;
      tile.firstChild.replaceWith(sign(id));
    }
    say(tile.querySelector("bdi"), label);
    const { percent } = doing(machine);
    const failed = machine.verdict && machine.verdict.outcome === "fail" ? many(machine.verdict.errors, "error") : null;
    say(tile.querySelector("small"), joined([word, failed, percent === null ? null : `${percent} %`]));
  },

  /** With no tile pointed at, the line below names those that need somebody, the latest first. */
  needy() {
    return joined(ATTENTION.map((state) => {
      const names = [...fleet.entries.values()].filter(({ machine }) => machine.state === state)
        .sort(ORDERS.attention).map(({ label }) => label.slice(0, 24));
      const more = names.length > 12 ? ` and ${names.length - 12} more` : "";
      return names.length ? `${stateOf(state).word}: ${names.slice(0, 12).join(", ")}${more}` : "";
    }));
  },

  inspect(mac) {
    this.inspected = mac;
    const item = fleet.entries.get(mac);
    say($("inspector"), item ? sentence(item) : this.needy());
  },

  point(mac) {
    for (const old of $("tiles").querySelectorAll("[tabindex='0']")) old.tabIndex = -1;
    cursor = mac;
    this.tiles.get(mac).tabIndex = 0;
    this.inspect(mac);
  },

  key(event) {
    if (!noModifier(event)) return;
    const next = moved(event.key, this.columns, this.columns * 10);
    if (next < 0) return;
    event.preventDefault();
    this.tiles.get(cursor).focus();
  },
};

// ---- One machine -------------------------------------------------------------------------------------------------------

const STEPS_SHOWN = 200;

function facts(pairs) {
  const list = h("dl", { className: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(h("dt", {}, name), h("dd", {}, value instanceof Node ? value : h("bdi", {}, clean(value))));
  }
  return list;
}

/** A table; a column is `[title, value of a row, whether it is a number]`. Its label is seen where no heading says it. */
function table(label, columns, rows, captioned = false) {
  const cell = (tag, value, numeric) => h(tag, { className: numeric ? "number" : "" },
    value instanceof Node ? value : h("bdi", {}, value === null || value === undefined ? NONE : clean(value)));
  const head = h("tr", {}, ...columns.map(([title, , numeric]) => Object.assign(cell("th", title, numeric), { scope: "col" })));
  const body = rows.map((row) => h("tr", {}, ...columns.map(([, value, numeric]) => cell("td", value(row), numeric))));
  const whole = h("table", {}, h("thead", {}, head), h("tbody", {}, ...body));
  if (captioned) whole.prepend(h("caption", {}, label));
  return h("div", { className: "scroll", tabIndex: 0, attrs: { role: "region", "aria-label": label } }, whole);
}
const mono = (text) => optional(text, (known) => h("bdi", { className: "mono" }, clean(known)));
const note = (text) => h("p", { className: "dim" }, text);
const optional = (value, form) => (value === null || value === undefined ? null : form(value));

const machineView = {
  node: $("machine"),
  mac: null,
  story: null,
  drawn: new Map(),

  start() {
    $("again").addEventListener("click", () => this.again());
  },

  async open(mac) {
    Object.assign(this, { mac, story: null, drawn: new Map(), all: false });
    for (const id of ["verdict", "identity", "dimms", "boots", "steps", "machine-state"]) $(id).replaceChildren();
    say($("again-note"), "");
    $("machine-note").hidden = true;
    const known = fleet.entries.get(mac);
    $("machine-title").replaceChildren(h("bdi", {}, known ? known.label : clean(mac)));
    cursor = mac;
    await this.read();
    if (this.mac === mac && !$("login").hidden) return;
    $("machine-title").focus({ preventScroll: true });
  },

  async read() {
    const { mac } = this;
    let answer;
    try {
      answer = await read(`machines/${encodeURIComponent(mac)}`);
    } catch (error) {
      answer = error;
    }
    if (mac !== this.mac) return;
    if (answer instanceof Error) {
      $("machine-note").hidden = false;
      say($("machine-note"), answer.status === 404 ? "This machine is not known, or not any more." : `Its story cannot be read: ${answer.message}`);
      return;
    }
    $("machine-note").hidden = true;
    this.story = answer;
    this.paint();
  },

  /** A boot that began or ended is in the story only: it is read again, once for many changes. */
  draw(changed) {
    if (!this.story || !changed.has(this.mac)) return;
    const item = fleet.entries.get(this.mac);
    if (!item) {
      $("machine-note").hidden = false;
      say($("machine-note"), "The server has forgotten this machine.");
      return;
    }
    const { boots, completed, state } = this.story.machine;
    this.story.machine = item.machine;
    if (item.machine.boots !== boots || item.machine.completed !== completed || item.machine.state !== state) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.read(), 1000);
    }
    this.paint();
  },

  step(step) {
    if (!this.story || step.mac !== this.mac || this.story.steps.some(({ id }) => id === step.id)) return;
    this.story.steps.unshift(step);
    this.paint();
  },

  /** Builds a part anew only if what it shows has changed: a selection or a focus elsewhere stays. */
  part(id, data, build) {
    const key = JSON.stringify(data);
    if (this.drawn.get(id) === key) return;
    this.drawn.set(id, key);
    $(id).replaceChildren(...build());
  },

  paint() {
    const { machine, boots, steps } = this.story;
    const { verdict, dimms } = machine;
    this.part("machine-title", [machine.name, machine.mac], () => [h("bdi", {}, clean(machine.name || machine.mac))]);
    this.part("machine-state", [machine.state, machine.since, machine.why, machine.progress, verdict], () => this.state(machine));
    this.part("identity", { ...machine, progress: 0, verdict: 0, dimms: 0, why: 0, since: 0 }, () => this.identity(machine));
    this.part("verdict", verdict, () => this.verdict(verdict));
    this.part("dimms", dimms, () => (dimms.length ? [this.dimms(dimms)] : [note("No test has reported its memory modules.")]));
    this.part("boots", boots, () => (boots.length ? [this.boots(boots)] : [note("It has not begun a boot.")]));
    this.part("steps", [steps.length, steps[0], this.all], () => this.steps(steps));
  },

  state(machine) {
    const { id, word } = stateOf(machine.state);
    $("machine-state").dataset.state = id;
    const { percent, text } = doing(machine);
    const parts = [mark(machine.state), h("b", {}, word), time(machine.since, "for"), h("bdi", {}, text)];
    if (percent !== null) parts.push(h("progress", { max: 100, value: percent, ariaLabel: machine.progress ? "Loaded" : "Pass" }));
    return parts;
  },

  identity(machine) {
    return [facts([
      ["Name", machine.name], ["MAC", mono(machine.mac)], ["IPv4", mono(machine.address)], ["UUID", mono(machine.uuid)],
      ["Serial", mono(machine.serial)], ["Architecture", machine.arch], ["Firmware", machine.firmware],
      ["Interface", machine.interface], ["VLAN", machine.vlan], ["Relay", mono(machine.relay)], ["Rule", machine.rule],
      ["Image", machine.image], ["Boots", `${machine.completed} of ${machine.boots} complete, ${many(machine.retransmits, "packet")} resent`],
      ["First seen", time(machine.first_seen, "clock")], ["Last heard", time(machine.last_seen, "clock")],
    ])];
  },

  verdict(verdict) {
    if (!verdict) return [note("No test has reported on its memory.")];
    const parts = [h("p", { className: "judgement", data: { outcome: verdict.outcome } }, judged(verdict).title), facts([
      ["Test", verdict.source], ["Passes", count(verdict.passes)], ["This pass", optional(verdict.percent, (p) => `${p} %`)],
      ["Under test", optional(verdict.memory, memory)], ["Corrected", optional(verdict.corrected, (n) => `${count(n)} (EDAC)`)],
      ["Uncorrected", optional(verdict.uncorrected, (n) => `${count(n)} (EDAC)`)],
      ["Started", time(verdict.started, "clock")], ["Heard", time(verdict.heard, "clock")],
    ])];
    const shown = verdict.first_errors;
    if (shown.length) {
      parts.push(table(verdict.errors > shown.length ? `The first ${shown.length} places of ${many(verdict.errors, "error")}` : "Errors", [
        ["Address", (e) => mono(e.address)],
        ["DIMM", (e) => e.dimm],
        ["Expected", (e) => mono(e.expected)],
        ["Found", (e) => mono(e.actual)],
        ["CPU", (e) => e.cpu, true], ["Times", (e) => count(e.count), true], ["When", (e) => time(e.at, "clock")],
      ], shown, true));
    }
    return parts;
  },

  dimms: (dimms) => table("Table of memory modules", [
    ["Slot", (d) => d.slot], ["Size", (d) => (d.size ? memory(d.size) : "empty"), true], ["Kind", (d) => d.kind],
    ["MT/s", (d) => d.speed, true], ["Maker", (d) => d.manufacturer], ["Part", (d) => d.part], ["Serial", (d) => d.serial],
  ], dimms),

  boots(boots) {
    const length = (boot) => (boot.offer_ms || 0) + (boot.load_ms || 0);
    const longest = Math.max(1, ...boots.map(length));
    const stages = (boot) => {
      const bar = h("div", { className: "stages", ariaHidden: "true" }, h("i"), h("i"));
      bar.children[0].style.width = `${(boot.offer_ms || 0) / longest * 100}%`;
      bar.children[1].style.width = `${(boot.load_ms || 0) / longest * 100}%`;
      return bar;
    };
    return table("Table of boots", [
      ["Began", (b) => time(b.at, "clock")], ["Offer", (b) => optional(b.offer_ms, millis), true],
      ["Load", (b) => optional(b.load_ms, millis), true], ["Offer, load", stages], ["Bytes", (b) => bytes(b.bytes), true],
      ["Resent", (b) => count(b.retransmits), true], ["Ended", (b) => b.outcome],
    ], boots);
  },

  steps(steps) {
    if (!steps.length) return [note("Nothing is written down of it.")];
    const shown = this.all ? steps : steps.slice(0, STEPS_SHOWN);
    const list = h("ol", { className: "story", reversed: true }, ...shown.map((step) => {
      const known = Object.entries(step.facts || {}).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
      return h("li", {}, time(step.at, "clock"), h("span", { data: { event: step.event } }, clean(step.event)),
        h("span", {}, h("bdi", {}, clean(step.text)), " ", h("small", {}, h("bdi", {}, clean(joined(known))))));
    }));
    if (shown.length === steps.length) return [list];
    const more = h("button", { type: "button", className: "theme more" }, `Show all ${count(steps.length)} steps`);
    more.addEventListener("click", () => {
      this.all = true;
      this.paint();
    });
    return [list, more];
  },

  async again() {
    const { mac } = this;
    $("again").disabled = true;
    let said;
    try {
      const answer = await request(`machines/${encodeURIComponent(mac)}/again`, {
        method: "POST", headers: { "X-Pxed": "1", "Content-Type": "application/json" }, body: "{}",
      });
      if (answer.ok) said = "Done: when it next boots from the network, its rules begin anew.";
      else if (answer.status === 403) said = `This page may only look. On the server, run: pxed again ${clean(mac)}`;
      else if (answer.status === 404) said = "The server does not know this machine any more.";
      else said = `The server refused (HTTP ${answer.status}).`;
    } catch (error) {
      said = `The server was not reached: ${error.message}`;
    }
    $("again").disabled = false;
    if (mac === this.mac) say($("again-note"), said);
  },
};

// ---- Throughput and the server -----------------------------------------------------------------------------------------

/** A plot of bytes a second over the last minutes, drawn in the pixels that it has. */
class Plot {
  constructor(figure, ticks) {
    this.caption = h("figcaption");
    this.svg = s("svg", { role: "img" });
    this.ticks = ticks;
    figure.append(this.caption, this.svg);
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  /** The next number of the kind 1, 2, 5, 10 in which all values have room. */
  static ceiling(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value);
  }

  point(x) {
    this.x = x;
    this.draw();
  }

  draw() {
    const data = fleet.throughput;
    const { width, height } = this.svg.getBoundingClientRect();
    if (!data || data.bytes_per_s.length === 0 || width < 80) return;
    const values = data.bytes_per_s;
    const peak = Math.max(...values);
    const top = Plot.ceiling(Math.max(peak, 1e6));
    const [left, bottom, head] = [66, height - 18, 7];
    const slots = Math.max(1, Math.round(600000 / data.step_ms));
    const x = (i) => width - 1 - (values.length - 1 - i) / (slots - 1) * (width - 1 - left);
    const y = (value) => bottom - value / top * (bottom - head);
    const line = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const parts = [];
    for (let i = 0; i <= this.ticks; i += 1) {
      const value = top / this.ticks * i;
      parts.push(s("path", { class: "grid", d: `M${left} ${y(value)}H${width}` }),
        s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value ? speed(value) : "0"));
    }
    for (const minutes of [10, 5, 0]) {
      const at = left + (10 - minutes) / 10 * (width - left);
      parts.push(s("text", { x: at, y: height - 2, "text-anchor": { 10: "start", 5: "middle", 0: "end" }[minutes] }, minutes ? `\u2212${minutes} min` : "now"));
    }
    parts.push(s("path", { class: "area", d: `${line}V${bottom}H${x(0).toFixed(1)}Z` }), s("path", { class: "line", d: line }));
    const last = values[values.length - 1];
    let shown = ["now ", last];
    if (typeof this.x === "number") {
      const slot = Math.round(values.length - 1 - (width - 1 - this.x) / (width - 1 - left) * (slots - 1));
      const i = Math.min(values.length - 1, Math.max(0, slot));
      parts.push(s("path", { class: "hair", d: `M${x(i)} ${head}V${bottom}` }));
      shown = [`${clock(new Date(Date.now() - (values.length - 1 - i) * data.step_ms))} `, values[i]];
    }
    this.svg.replaceChildren(...parts);
    tell(this.svg, "viewBox", `0 0 ${width} ${height}`);
    tell(this.svg, "aria-label", `Throughput over ten minutes: now ${speed(last)}, at most ${speed(peak)}`);
    this.caption.replaceChildren(h("span", {}, "Throughput, ", shown[0], h("b", {}, speed(shown[1]))), h("span", {}, "peak ", h("b", {}, speed(peak))));
  }
}
const plots = [new Plot($("plot-small"), 2), new Plot($("plot-large"), 5)];

const serverView = {
  node: $("server"),
  start() {},
  draw() {
    const { summary } = fleet;
    if (!summary) return;
    const kept = fleet.lost.length ? many(fleet.lost.length, "thing") + " not kept, see above" : "everything";
    $("server-facts").replaceChildren(facts([
      ["Version", summary.version], ["Up for", span(summary.uptime_s * 1000)], ["Machines", count(fleet.entries.size)],
      ["Sending", speed(summary.bytes_per_s)], ["Configuration", summary.config_problem ? "refused, see above" : "in force"], ["Kept", kept],
    ]));
    const focused = $("interfaces").contains(document.activeElement);
    $("interfaces").replaceChildren(summary.interfaces.length ? table("Table of interfaces", [
      ["Interface", (i) => i.name], ["Address", (i) => mono(i.address)], ["Datapath", (i) => i.datapath],
      ["Mode", (i) => i.mode], ["Kernel answers", (i) => i.offload],
      ["Queues", (i) => i.queues, true], ["Transfers", (i) => i.transfers, true], ["Waiting", (i) => i.waiting, true],
    ], summary.interfaces) : note("No interface is served."));
    if (focused) $("interfaces").firstChild.focus({ preventScroll: true });
  },
};

// ---- The server's side -------------------------------------------------------------------------------------------------

const link = { source: null, live: false, wait: 1000, timer: 0, locked: false };

/** Asks the API, for ten seconds at most. A 401 shows the token's form. */
async function request(path, options = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 10000);
  try {
    const answer = await fetch(`api/v1/${path}`, { ...options, signal: stop.signal, cache: "no-store" });
    if (answer.status === 401) lock();
    return answer;
  } finally {
    clearTimeout(timer);
  }
}
async function read(path) {
  const answer = await request(path);
  if (!answer.ok) throw Object.assign(new Error(`HTTP ${answer.status}`), { status: answer.status });
  const date = Date.parse(answer.headers.get("date"));
  // The header has whole seconds, so less than two are no difference.
  if (!Number.isNaN(date)) skew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  return answer.json();
}

async function readSummary() {
  [fleet.summary, fleet.throughput] = await Promise.all([read("summary"), read("throughput")]);
  pending.header = true;
  plots.forEach((plot) => plot.draw());
  if (view === serverView) serverView.draw();
  schedule();
}

/** Follows the stream. It begins with the whole board, so whatever was missed, to begin again is enough. */
function follow() {
  const source = new EventSource("api/v1/events");
  link.source = source;
  source.addEventListener("board", (event) => {
    takeBoard(JSON.parse(event.data));
    Object.assign(link, { live: true, wait: 1000 });
    showLink();
  });
  source.addEventListener("message", (event) => takeUpdate(JSON.parse(event.data)));
  source.addEventListener("reload", () => {
    source.close();
    link.timer = setTimeout(follow, 500 + Math.random() * 1000);
  });
  source.addEventListener("error", lost);
}

/** The connection is gone: says so, and tries again, more and more patiently. */
function lost() {
  if (link.source) link.source.close();
  clearTimeout(link.timer);
  link.live = false;
  showLink();
  if (link.locked) return;
  link.timer = setTimeout(connect, link.wait * (0.75 + Math.random() / 2));
  link.wait = Math.min(link.wait * 2, 15000);
}

/** Reads the board before it follows: where there is no stream to be had, what is shown is at least not old. */
async function connect() {
  try {
    await readSummary();
    if (fleet.read) takeBoard(await read("machines"));
    follow();
  } catch {
    lost();
  }
}

function showLink() {
  const state = link.live ? "live" : fleet.read ? "lost" : "wait";
  $("link").dataset.state = link.locked ? "wait" : state;
  const said = { live: "live", wait: link.locked ? "token wanted" : "connecting" };
  const read = new Date(fleet.read - skew);
  say($("link").lastChild, said[$("link").dataset.state] || `Connection lost, showing state of ${clock(read)}`);
}

async function poll() {
  if (link.live && !link.locked && !document.hidden) {
    try {
      await readSummary();
    } catch {
      if (link.live) lost();
    }
  }
  setTimeout(poll, 4000);
}

function lock() {
  link.locked = true;
  if (link.source) link.source.close();
  showLink();
  route();
}
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say($("login-note"), "");
  try {
    const answer = await fetch("login", {
      method: "POST", headers: { "X-Pxed": "1", "Content-Type": "application/json" }, body: JSON.stringify({ token: $("token").value }),
    });
    if (answer.ok) location.reload();
    else say($("login-note"), answer.status === 401 || answer.status === 403 ? "That is not the token." : `The server refused (HTTP ${answer.status}).`);
  } catch {
    say($("login-note"), "The server was not reached.");
  }
});

// ---- The frame around the views ----------------------------------------------------------------------------------------

const VIEWS = { board: boardView, wall: wallView, machine: machineView, server: serverView };
let view = boardView;

function schedule() {
  if (pending.scheduled) return;
  pending.scheduled = true;
  requestAnimationFrame(frame);
}

/** Draws what has changed. The order may change once a second: rows that jump more often cannot be read. */
function frame() {
  pending.scheduled = false;
  pending.order = pending.order || pending.machines.size > 0;
  const due = pending.order && performance.now() - pending.at >= 1000;
  if (due) {
    reorder();
    pending.order = false;
    pending.at = performance.now();
  }
  if (pending.header) drawHeader();
  if (!link.locked) view.draw(pending.machines, due);
  pending.machines.clear();
}

/** Draws at once, for what a person has asked for. */
function redraw() {
  pending.order = true;
  pending.at = -Infinity;
  pending.header = true;
  schedule();
}

function drawHeader() {
  pending.header = false;
  for (const figure of $("figures").children) {
    const total = totalOf(figure.states);
    say(figure.firstChild, count(total));
    figure.classList.toggle("alarm", figure.states === ATTENTION && total > 0);
    tell(figure, "aria-pressed", String(sameStates(figure.states)));
  }
  for (const chip of $("chips").querySelectorAll("[data-filter]")) {
    const total = totalOf([chip.dataset.filter]);
    say(chip.lastChild, count(total));
    chip.classList.toggle("none", total === 0);
    tell(chip, "aria-pressed", String(choice.states.has(chip.dataset.filter)));
  }
  $("chips").lastChild.hidden = choice.states.size === 0;
  drawBanners();
}

function drawBanners() {
  const problem = fleet.summary && fleet.summary.config_problem;
  const key = JSON.stringify([problem, fleet.lost]);
  if ($("banners").shown === key) return;
  $("banners").shown = key;
  const banner = (title, text, ...more) => h("p", { className: "banner" }, h("b", {}, title), h("bdi", {}, clean(text)), ...more);
  $("banners").replaceChildren(
    ...(problem ? [banner("Configuration refused, the old one stays in force.", problem)] : []),
    ...fleet.lost.map((item) => banner("Not kept.", item.what, " ", h("small", {}, "(", time(item.since, "for"), ")"))));
}

const sameStates = (states) => choice.states.size === states.length && states.every((state) => choice.states.has(state));
function filter(states) {
  choice.states = new Set(states);
  scrollTo(0, 0);
  redraw();
}

function buildFilters() {
  for (const { word, states } of FIGURES) {
    const figure = h("button", { type: "button" }, h("strong", {}, "0"), h("span", {}, word));
    figure.states = states;
    figure.addEventListener("click", () => filter(sameStates(states) ? [] : states));
    $("figures").append(figure);
  }
  for (const { id, word } of STATES) {
    const chip = h("button", { type: "button", data: { filter: id } }, mark(id), h("span", { className: "word" }, word), h("b", {}, "0"));
    chip.addEventListener("click", () => {
      const states = new Set(choice.states);
      if (!states.delete(id)) states.add(id);
      filter(states);
    });
    $("chips").append(chip);
  }
  const clear = h("button", { type: "button", className: "clear", hidden: true }, "Show all");
  clear.addEventListener("click", () => filter([]));
  $("chips").append(clear);
}

/** `#/`, `#/wall`, `#/server`, `#/m/<mac>`. */
function route() {
  const [, name = "", rest = ""] = location.hash.split("/");
  const next = { wall: "wall", server: "server", m: "machine" }[name] || "board";
  if (view === boardView) boardView.scroll = scrollY;
  const before = view;
  view = VIEWS[next];
  for (const [key, { node }] of Object.entries(VIEWS)) node.hidden = link.locked || key !== next;
  $("login").hidden = !link.locked;
  $("overview").hidden = $("tools").hidden = $("find").hidden = link.locked || next === "machine" || next === "server";
  for (const item of document.querySelectorAll("nav a")) {
    if (item.dataset.view === next) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  if (link.locked) {
    $("token").focus();
    return;
  }
  machineView.mac = null;
  if (view === machineView) {
    if (before !== machineView) $("back").href = before === wallView ? "#/wall" : "#/";
    let mac = rest;
    try {
      mac = decodeURIComponent(rest);
    } catch {
      // A hash that somebody typed: it is shown as it is, and not found.
    }
    machineView.open(mac);
  }
  if (view === boardView || view === wallView) $("order").value = choice.order[next];
  reorder();
  view.draw(new Set(fleet.entries.keys()), true);
  scrollTo(0, view === boardView ? boardView.scroll : 0);
  if (before === machineView && cursor) refocus();
  title();
}

/** Back from a machine: the keyboard is where it was. */
function refocus() {
  if (view === boardView) {
    boardView.draw(new Set(), false);
    const row = boardView.rows.get(cursor);
    if (row) boardView.link(row).focus({ preventScroll: true });
  } else if (view === wallView && wallView.tiles.has(cursor)) wallView.tiles.get(cursor).focus({ preventScroll: true });
}

function title() {
  const needy = totalOf(ATTENTION);
  const where = view === machineView && machineView.mac ? `${$("machine-title").textContent} \u2013 pxed` : "pxed fleet";
  document.title = `${link.live || !fleet.read ? "" : "offline "}${needy ? `(${needy}) ` : ""}${where}`;
}

/** Once a second: times, the title (frames are not drawn in the background), and an order that waited for its second. */
let announced = 0;
function second() {
  title();
  if (document.hidden) return;
  view.node.querySelectorAll("time").forEach(tick);
  $("banners").querySelectorAll("time").forEach(tick);
  if (pending.order) schedule();
  // Counts are read out at most every ten seconds, and only if they have changed.
  if (fleet.read && Date.now() - announced >= 10000) {
    announced = Date.now();
    say($("counts"), `${many(totalOf(ATTENTION), "machine needs", "machines need")} attention, ${count(totalOf(["running"]))} running, ${count(fleet.entries.size)} in all.`);
  }
}

/** The viewer's choice of light or dark, if it is not the system's. */
const THEMES = ["auto", "light", "dark"];
const store = {
  get: () => { try { return localStorage.getItem("pxed-theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("pxed-theme", value); } catch { /* Kept for this visit only. */ } },
};
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}

function listen() {
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    setTheme(next);
    store.set(next);
  });
  $("search").addEventListener("input", () => {
    choice.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    redraw();
  });
  $("order").addEventListener("change", () => {
    choice.order[view === wallView ? "wall" : "board"] = $("order").value;
    redraw();
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && noModifier(event) && !/INPUT|SELECT/.test(event.target.tagName) && !$("tools").hidden) {
      event.preventDefault();
      $("search").focus();
    }
    if (event.key === "Escape" && view === machineView) location.hash = $("back").getAttribute("href");
  });
  addEventListener("scroll", schedule, { passive: true });
  addEventListener("resize", redraw);
  addEventListener("hashchange", route);
}

setTheme(THEMES.includes(store.get()) ? store.get() : "auto");
buildFilters();
listen();
Object.values(VIEWS).forEach((each) => each.start());
route();
connect();
setTimeout(poll, 4000);
setInterval(second, 1000);
