// The board: a table of the machines.

import { $, arrange, h, noModifier, say, setTime, sign, tell } from "./elements.js";
import { changed, cursor, order, pointAt } from "./fleet.js";
import { emptiness, linkTo, moved } from "./list.js";
import { ATTENTION, NONE, clean, count, doing, joined, judged, stateOf } from "./words.js";

/** The table holds only the rows in sight. Two spacers stand for the rows above and below. All rows have the same height. */
export const boardView = {
  node: $("board"),
  rows: new Map(),
  spacers: [0, 1].map(() => h("tr", { className: "spacer", attrs: { role: "presentation", "aria-hidden": "true" } })),

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
    // The first row moves in steps of eight, so that few frames of a scroll change the table.
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

  /** Tab reaches one row, arrow keys reach all. If the cursor's row is out of sight, Tab reaches the first row in sight. */
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
    pointAt(mac);
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
    this.draw(changed, false);
    this.point(cursor);
    this.link(this.rows.get(cursor)).focus({ preventScroll: true });
  },
};
