// Common parts of the board and the wall: both show the same machines, and arrow keys move among these.

import { $, say } from "./elements.js";
import { cursor, fleet, order, pointAt } from "./fleet.js";
import { count, many } from "./words.js";

/** Shows how many machines are shown. */
export function drawShown() {
  const all = fleet.entries.size;
  say($("shown"), order.length === all ? many(all, "machine") : `${count(order.length)} of ${many(all, "machine")}`);
}

/** Shows why a list is empty. */
export function emptiness(node) {
  node.hidden = order.length > 0;
  if (fleet.read === 0) say(node, "Reading the board \u2026");
  else if (fleet.entries.size === 0) say(node, "No machine has asked to be booted yet. Switch one on and let it boot from the network.");
  else say(node, "No machine matches the filters and the search.");
}

/** Moves the cursor in `order`. Returns the new index, or -1 for keys that do not move it. */
export function moved(key, line, page) {
  const at = order.findIndex(({ machine }) => machine.mac === cursor);
  const steps = { ArrowDown: line, ArrowUp: -line, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    ArrowRight: line > 1 ? 1 : 0, ArrowLeft: line > 1 ? -1 : 0 };
  if (!steps[key] || order.length === 0) return -1;
  const next = Math.min(order.length - 1, Math.max(0, at + steps[key]));
  pointAt(order[next].machine.mac);
  return next;
}
export const linkTo = (mac) => `#/m/${encodeURIComponent(mac)}`;
