// The view of the server: throughput, interfaces, and facts of the daemon.

import { $, facts, h, mono, note, s, table, tell, time } from "./elements.js";
import { fleet } from "./fleet.js";
import { clock, span } from "./times.js";
import { clean, count, many, speed } from "./words.js";

/** Plots bytes a second over the last minutes, in the size that the element has. */
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

  /** The next number of the form 1, 2, 5, 10, ... that is at least as large as all values. */
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
export const drawPlots = () => plots.forEach((plot) => plot.draw());

export const serverView = {
  node: $("server"),
  start() {},
  draw() {
    const { summary } = fleet;
    if (!summary) return;
    const kept = fleet.lost.length ? many(fleet.lost.length, "thing") + " not kept, see above" : "everything";
    $("server-facts").replaceChildren(facts([
      ["Version", summary.version], ["Up for", span(summary.uptime_s * 1000)], ["Machines", count(fleet.entries.size)],
      ["Sending", speed(summary.bytes_per_s)], ["Configuration", summary.config_problem ? "refused, see above" : "in force"], ["Kept", kept],
      ["Segment", summary.segment ? `${summary.segment.name}: ${summary.segment.share}` : "not shared"],
    ]));
    const focused = $("interfaces").contains(document.activeElement);
    $("interfaces").replaceChildren(summary.interfaces.length ? table("Table of interfaces", [
      ["Interface", (i) => i.name], ["Address", (i) => mono(i.address)], ["Datapath", (i) => i.datapath],
      ["Mode", (i) => i.mode], ["Kernel answers", (i) => i.offload],
      ["Queues", (i) => i.queues, true], ["Transfers", (i) => i.transfers, true], ["Waiting", (i) => i.waiting, true],
    ], summary.interfaces) : note("No interface is served."));
    if (focused) $("interfaces").firstChild.focus({ preventScroll: true });
    const { responders } = fleet;
    const own = responders.find((r) => r.own);
    // Another version of pxed may make another digest of the same rules.
    const differs = (r) => own && r.version === own.version && own.rules && r.rules && r.rules !== own.rules;
    $("responders").replaceChildren(...(responders.length ? [h("h2", {}, "Responders of the shared ledger"), table("Table of responders", [
      ["Responder", (r) => clean(r.own ? `${r.name} (this one)` : r.name)], ["Host", (r) => clean(r.host)],
      ["State", (r) => (r.alive ? "alive" : r.seen ? h("span", {}, "not alive, seen ", time(r.seen, "clock")) : "stopped")],
      ["Segment", (r) => r.segment && clean(r.segment)], ["Version", (r) => r.version && clean(r.version)],
      ["Rules", (r) => (differs(r) ? "others" : "")], ["Waiting", (r) => count(r.waiting), true],
    ], responders)] : []));
  },
};
