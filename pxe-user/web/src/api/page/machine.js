// The view of one machine: identity, state, memory, boots and history.

import { read, request } from "./api.js";
import { $, facts, h, mark, mono, note, optional, say, table, time } from "./elements.js";
import { fleet, pointAt } from "./fleet.js";
import { bytes, clean, count, doing, joined, judged, many, memory, millis, stateOf } from "./words.js";

const STEPS_SHOWN = 200;

export const machineView = {
  node: $("machine"),
  mac: null,
  story: null,
  drawn: new Map(),

  start() {
    $("again").addEventListener("click", () => this.again());
    $("rename").addEventListener("submit", (event) => {
      event.preventDefault();
      this.rename();
    });
  },

  async open(mac) {
    Object.assign(this, { mac, story: null, drawn: new Map(), all: false });
    for (const id of ["verdict", "identity", "dimms", "boots", "steps", "machine-state"]) $(id).replaceChildren();
    say($("again-note"), "");
    say($("rename-note"), "");
    $("name").value = "";
    $("machine-note").hidden = true;
    const known = fleet.entries.get(mac);
    $("machine-title").replaceChildren(h("bdi", {}, known ? known.label : clean(mac)));
    pointAt(mac);
    await this.read();
    if (this.mac === mac && !$("login").hidden) return;
    $("machine-title").focus({ preventScroll: true });
  },

  close() {
    this.mac = null;
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

  /** Boots are only in the story. After a change of boots or state, the story is read again, once for many changes. */
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

  /** Rebuilds a part only if its data has changed, so that a selection or focus in other parts stays. */
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
    // A name that is being typed is not replaced.
    if (document.activeElement !== $("name")) $("name").value = machine.name || "";
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
      ["Interface", machine.interface], ["Seen by", machine.responder], ["VLAN", machine.vlan], ["Relay", mono(machine.relay)], ["Rule", machine.rule],
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

  again() {
    return this.write("again", "POST", {}, {
      done: "Done: when it next boots from the network, its rules begin anew.",
      command: (mac) => `pxed again ${mac}`,
    });
  },

  rename() {
    const name = $("name").value.trim() || null;
    return this.write("rename", "PUT", { name }, {
      path: "name",
      done: name ? "Saved." : "It has no name now.",
      command: (mac) => (name ? `pxed name ${mac} '${name.replaceAll("'", "'\\''")}'` : `pxed name ${mac} --remove`),
    });
  },

  /** Sends a change of the machine for the button or form `id`, and shows the result beside it. */
  async write(id, method, body, { path = id, done, command }) {
    const { mac } = this;
    const control = $(id).elements ? $(id).querySelector("button") : $(id);
    control.disabled = true;
    let said;
    try {
      const answer = await request(`machines/${encodeURIComponent(mac)}/${path}`, {
        method, headers: { "X-Pxed": "1", "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      if (answer.ok) said = done;
      else if (answer.status === 403) said = `This page may only look. On the server, run: ${command(clean(mac))}`;
      else if (answer.status === 404) said = "The server does not know this machine any more.";
      else {
        const { error } = await answer.json().catch(() => ({}));
        said = clean(error || `The server refused (HTTP ${answer.status}).`);
      }
    } catch (error) {
      said = `The server was not reached: ${error.message}`;
    }
    control.disabled = false;
    if (mac === this.mac) say($(`${id}-note`), said);
  },
};
