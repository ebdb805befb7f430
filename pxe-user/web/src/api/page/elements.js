// Builds and changes the page's elements. Texts reach the page as text nodes only.

import { clock, day, moment, now, span } from "./times.js";
import { NONE, clean, stateOf } from "./words.js";

export const $ = (id) => document.getElementById(id);

/** Makes an element: properties as properties, `data` as data attributes, `attrs` as attributes, strings as text nodes. */
export function h(tag, { data = {}, attrs = {}, ...props } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
export function s(tag, attrs = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
export const sign = (id) => s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: stateOf(id).sign }));
export const mark = (id) => h("span", { className: "mark", data: { state: stateOf(id).id } }, sign(id));

/** Sets a text, and changes the page only if the text differs. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
export function tell(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Shows a time that advances (`ago`: how long ago, `for`: for how long) or is fixed (`clock`). */
export function setTime(node, at, form) {
  if (node.dataset.at === String(at) && node.dataset.form === form) return;
  node.dataset.at = at;
  node.dataset.form = form;
  const date = new Date(at);
  const known = at > 0 && !Number.isNaN(date.getTime());
  node.dateTime = known ? date.toISOString() : "";
  node.title = known ? `${day(date)} ${clock(date)} (UTC ${date.toISOString().slice(0, 19).replace("T", " ")})` : "";
  tick(node);
}
export function tick(node) {
  const at = Number(node.dataset.at);
  if (!node.dateTime) say(node, node.dataset.at === "0" ? "never" : "time unknown");
  else if (node.dataset.form === "clock") say(node, moment(new Date(at), new Date(now())));
  else say(node, node.dataset.form === "for" ? `for ${span(now() - at)}` : span(now() - at));
}
export function time(at, form) {
  const node = h("time");
  setTime(node, at, form);
  return node;
}

/** Makes `parent` hold `nodes` between `before` and `after`. Moves as few nodes as possible, and keeps the focus. */
export function arrange(parent, nodes, before = null, after = null) {
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

export function facts(pairs) {
  const list = h("dl", { className: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(h("dt", {}, name), h("dd", {}, value instanceof Node ? value : h("bdi", {}, clean(value))));
  }
  return list;
}

/** Makes a table. A column is `[title, value of a row, whether it is a number]`. The label is visible if `captioned`. */
export function table(label, columns, rows, captioned = false) {
  const cell = (tag, value, numeric) => h(tag, { className: numeric ? "number" : "" },
    value instanceof Node ? value : h("bdi", {}, value === null || value === undefined ? NONE : clean(value)));
  const head = h("tr", {}, ...columns.map(([title, , numeric]) => Object.assign(cell("th", title, numeric), { scope: "col" })));
  const body = rows.map((row) => h("tr", {}, ...columns.map(([, value, numeric]) => cell("td", value(row), numeric))));
  const whole = h("table", {}, h("thead", {}, head), h("tbody", {}, ...body));
  if (captioned) whole.prepend(h("caption", {}, label));
  return h("div", { className: "scroll", tabIndex: 0, attrs: { role: "region", "aria-label": label } }, whole);
}
export const mono = (text) => optional(text, (known) => h("bdi", { className: "mono" }, clean(known)));
export const note = (text) => h("p", { className: "dim" }, text);
export const optional = (value, form) => (value === null || value === undefined ? null : form(value));

/** Whether a key was pressed without modifiers. With modifiers it is the browser's. */
export const noModifier = (event) => !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey;
