// The connection to the server: follows the event stream, reconnects when it breaks, and asks for the token.

import { read } from "./api.js";
import { $, say } from "./elements.js";
import { fleet, takeBoard, takeSummary, takeUpdate } from "./fleet.js";
import { machineView } from "./machine.js";
import { drawPlots, serverView } from "./server.js";
import { clock, ownTime } from "./times.js";

export const link = { source: null, live: false, wait: 1000, timer: 0, locked: false };

async function readSummary() {
  takeSummary(...await Promise.all([read("summary"), read("throughput")]));
  drawPlots();
  if (!serverView.node.hidden) serverView.draw();
}

/** Follows the event stream. The stream begins with the whole board, so a new connection replaces all missed events. */
function follow() {
  const source = new EventSource("api/v1/events");
  link.source = source;
  source.addEventListener("board", (event) => {
    takeBoard(JSON.parse(event.data));
    Object.assign(link, { live: true, wait: 1000 });
    showLink();
  });
  source.addEventListener("message", (event) => {
    const update = JSON.parse(event.data);
    takeUpdate(update);
    if (update.kind === "step") machineView.step(update.step);
  });
  source.addEventListener("reload", () => {
    source.close();
    link.timer = setTimeout(follow, 500 + Math.random() * 1000);
  });
  source.addEventListener("error", lost);
}

/** After the connection broke: shows that, and reconnects with a delay that doubles up to 15 s. */
function lost() {
  if (link.source) link.source.close();
  clearTimeout(link.timer);
  link.live = false;
  showLink();
  if (link.locked) return;
  link.timer = setTimeout(connect, link.wait * (0.75 + Math.random() / 2));
  link.wait = Math.min(link.wait * 2, 15000);
}

/** Reads the board before it follows the stream, so that the page is current even if no stream is available. */
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
  say($("link").lastChild, said[$("link").dataset.state] || `Connection lost, showing state of ${clock(new Date(ownTime(fleet.read)))}`);
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

/** Stops all requests until the viewer has given a token. Then the page reloads. */
export function lock() {
  link.locked = true;
  if (link.source) link.source.close();
  showLink();
}

async function login(event) {
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
}

export function startLink() {
  $("login-form").addEventListener("submit", login);
  connect();
  setTimeout(poll, 4000);
}
