// The header of the lists: figures, filters, and banners about the server.

import { $, h, mark, say, tell, time } from "./elements.js";
import { choice, fleet, showStates, totalOf } from "./fleet.js";
import { ATTENTION, FIGURES, NONE, STATES, clean, count } from "./words.js";

export function drawHeader() {
  for (const figure of $("figures").children) {
    const total = totalOf(figure.states);
    // Before the first board the numbers are unknown: a 0 would mean that no machine needs attention.
    say(figure.firstChild, fleet.read ? count(total) : NONE);
    figure.classList.toggle("alarm", figure.states === ATTENTION && total > 0);
    tell(figure, "aria-pressed", String(sameStates(figure.states)));
  }
  for (const chip of $("chips").querySelectorAll("[data-filter]")) {
    const total = totalOf([chip.dataset.filter]);
    say(chip.lastChild, fleet.read ? count(total) : NONE);
    chip.classList.toggle("none", total === 0);
    tell(chip, "aria-pressed", String(choice.states.has(chip.dataset.filter)));
  }
  $("chips").lastChild.hidden = choice.states.size === 0;
  drawBanners();
}

function drawBanners() {
  const problem = fleet.summary && fleet.summary.config_problem;
  const segment = fleet.summary && fleet.summary.segment && fleet.summary.segment.problem;
  const proxies = fleet.summary && fleet.summary.foreign_proxies;
  const images = ((fleet.summary && fleet.summary.images) || []).filter((image) => image.problem);
  const key = JSON.stringify([problem, segment, proxies, images, fleet.lost]);
  if ($("banners").shown === key) return;
  $("banners").shown = key;
  const banner = (title, text, ...more) => h("p", { className: "banner" }, h("b", {}, title), h("bdi", {}, clean(text)), ...more);
  $("banners").replaceChildren(
    ...(problem ? [banner("The configuration file was rejected; the running configuration stays.", problem)] : []),
    ...(segment ? [banner("Responders.", segment)] : []),
    ...(proxies ? [banner("Not alone.", proxies)] : []),
    ...images.map((image) => banner("Image.", image.problem)),
    ...fleet.lost.map((item) => banner("Not kept.", item.what, " ", h("small", {}, "(", time(item.since, "for"), ")"))));
}

const sameStates = (states) => choice.states.size === states.length && states.every((state) => choice.states.has(state));
function filter(states) {
  showStates(states);
  scrollTo(0, 0);
}

export function buildFilters() {
  for (const { word, states } of FIGURES) {
    const figure = h("button", { type: "button" }, h("strong", {}, NONE), h("span", {}, word));
    figure.states = states;
    figure.addEventListener("click", () => filter(sameStates(states) ? [] : states));
    $("figures").append(figure);
  }
  for (const { id, word } of STATES) {
    const chip = h("button", { type: "button", data: { filter: id } }, mark(id), h("span", { className: "word" }, word), h("b", {}, NONE));
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
