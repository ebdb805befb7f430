// The wall: a tile for each machine, all in sight at once.

import { $, arrange, h, noModifier, s, say, sign } from "./elements.js";
import { ORDERS, cursor, fleet, order, pointAt } from "./fleet.js";
import { emptiness, linkTo, moved } from "./list.js";
import { ATTENTION, doing, joined, many, sentence, stateOf } from "./words.js";

/** Shapes of tiles, the best first: the range of heights in pixels, and the width for a height. */
const TILES = [
  { size: "large", from: 110, to: 54, width: (height) => height * 2.6 },
  { size: "medium", from: 53, to: 30, width: (height) => Math.max(112, height * 2.6) },
  { size: "small", from: 44, to: 16, width: (height) => height * 1.15 },
];

/** The largest tiles with which `total` tiles fit, stretched to fill the space; if none fit, the smallest tiles. */
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

export const wallView = {
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

  /** Chooses the largest tiles with which all machines are in sight. */
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

  /** If no tile is under the pointer, the line below names the machines that need attention, the newest first. */
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
    pointAt(mac);
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
