// Texts: states and their signs, numbers with their units, and descriptions of a machine.

import { span } from "./times.js";

/** The states in the order of attention, as in board.rs. `sign` is an SVG path in a square of 16. */
export const STATES = [
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
export const ATTENTION = ["failed", "returned", "silent"];
export const FIGURES = [
  { word: "need attention", states: ATTENTION },
  { word: "on their way", states: ["loading", "offered", "seen"] },
  { word: "running", states: ["running"] },
  { word: "passed", states: ["passed"] },
];
const RANK = new Map(STATES.map((state, rank) => [state.id, rank]));
/** A state that only a later version knows is shown by its name, and sorted after the known ones. */
export const stateOf = (id) => STATES[RANK.get(id)] || { id: "seen", word: clean(id), sign: STATES[5].sign };
export const rankOf = (id) => (RANK.has(id) ? RANK.get(id) : STATES.length);

export const NONE = "\u2013";
/** Makes characters visible that would hide or reorder a text: control, format and unassigned ones, lone surrogates. */
export const clean = (text) => String(text)
  .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);
const number = new Intl.NumberFormat("en", { useGrouping: true });
export const count = (n) => number.format(n).replace(/,/g, "\u202f");
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
export const joined = (parts) => parts.filter((part) => part !== null && part !== undefined && part !== "").join(" \u00b7 ");

function scaled(n, step, units) {
  let unit = 0;
  while (n >= step && unit < units.length - 1) {
    n /= step;
    unit += 1;
  }
  return `${n >= 100 || unit === 0 || Number.isInteger(n) ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}
export const bytes = (n) => scaled(n, 1000, ["B", "kB", "MB", "GB", "TB"]);
export const speed = (n) => `${bytes(n)}/s`;
export const memory = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const millis = (ms) => (ms < 1000 ? `${ms} ms` : ms < 100000 ? `${(ms / 1000).toFixed(1)} s` : span(ms));

/** What the machine does now, as text, and its progress in per cent; null if there is none. */
export function doing({ state, why, progress, verdict }) {
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

/** The result of the memory test, in two lines. */
export function judged(verdict) {
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

/** The text for the line below the wall. */
export function sentence({ machine, label }) {
  const { title, detail } = judged(machine.verdict);
  return joined([`${label}: ${stateOf(machine.state).word}`, doing(machine).text, machine.verdict ? `${title} (${detail})` : null]);
}
