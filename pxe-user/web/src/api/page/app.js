// The dashboard: the board, the wall, one machine, the server. It reads `/api/v1` and follows its event stream. This module
// is the entry point, and the frame around the views.
//
//   event stream --> fleet (a map of machines) --> order (filtered, sorted; at most once a second) --> the view that is shown
//
// A module imports only modules to its right:
//
//   app --> link --> board, wall, machine, server, header --> list --> fleet, api --> elements --> words --> times
//
// An update draws nothing. It marks its machine, and the next animation frame draws the marked machines that are in sight.
// Texts come from machines, which may be hostile: they reach the page only as text nodes, and through `clean`.

import { onRefused } from "./api.js";
import { boardView } from "./board.js";
import { $, noModifier, say, tick } from "./elements.js";
import { catchUp, choice, cursor, drawWith, fleet, orderBy, redraw, schedule, searchFor, showList, totalOf } from "./fleet.js";
import { buildFilters, drawHeader } from "./header.js";
import { link, lock, startLink } from "./link.js";
import { drawShown } from "./list.js";
import { machineView } from "./machine.js";
import { serverView } from "./server.js";
import { wallView } from "./wall.js";
import { ATTENTION, count, many } from "./words.js";

const VIEWS = { board: boardView, wall: wallView, machine: machineView, server: serverView };
let view = boardView;
/** The board's scroll position when another view replaced it. */
let boardScroll = 0;

function drawFrame(changed, reordered, header) {
  if (reordered) drawShown();
  if (header) drawHeader();
  if (!link.locked) view.draw(changed, reordered);
}

/** Shows the view that the hash names: `#/`, `#/wall`, `#/server`, `#/m/<mac>`. */
function route() {
  const [, name = "", rest = ""] = location.hash.split("/");
  const next = { wall: "wall", server: "server", m: "machine" }[name] || "board";
  if (view === boardView) boardScroll = scrollY;
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
  machineView.close();
  if (view === machineView) {
    if (before !== machineView) $("back").href = before === wallView ? "#/wall" : "#/";
    let mac = rest;
    try {
      mac = decodeURIComponent(rest);
    } catch {
      // The hash was typed by hand. It is shown as it is, and the server does not find the machine.
    }
    machineView.open(mac);
  }
  if (view === boardView || view === wallView) $("order").value = choice.order[next];
  showList(view === wallView ? "wall" : "board");
  drawShown();
  view.draw(new Set(fleet.entries.keys()), true);
  scrollTo(0, view === boardView ? boardScroll : 0);
  if (before === machineView && cursor) refocus();
  title();
}

/** After the view of one machine: sets the focus to that machine's row or tile. */
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

/** Runs every second: updates times, the title (frames are not drawn in the background), and an order that is due. */
let announced = 0;
function second() {
  title();
  if (document.hidden) return;
  view.node.querySelectorAll("time").forEach(tick);
  $("banners").querySelectorAll("time").forEach(tick);
  catchUp();
  // Screen readers read the counts at most every ten seconds, and only if they have changed.
  if (fleet.read && Date.now() - announced >= 10000) {
    announced = Date.now();
    say($("counts"), `${many(totalOf(ATTENTION), "machine needs", "machines need")} attention, ${count(totalOf(["running"]))} running, ${count(fleet.entries.size)} in all.`);
  }
}

/** The viewer's choice between the system's theme, light and dark. */
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
  $("search").addEventListener("input", () => searchFor($("search").value));
  $("order").addEventListener("change", () => orderBy($("order").value));
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
drawWith(drawFrame);
onRefused(() => {
  lock();
  route();
});
route();
startLink();
setInterval(second, 1000);
