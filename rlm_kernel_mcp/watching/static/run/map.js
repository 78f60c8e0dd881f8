// The map of a context: one axis of characters from the first to the last, and on it what was searched, delivered and cited.
// Is: the same drawing for a kilobyte and for ten gigabytes. Is not: a list of all documents: the server has that.
// Above: `views/session.js`. Below: `run/lanes.js`, `run/ranges.js`.
import { fill, make } from "../ground/dom.js";
import { inline } from "../ground/foreign.js";
import { count, percent, plural, short } from "../ground/words.js";
import { numberOf, placeOf } from "./citations.js";
import { Lanes } from "./lanes.js";
import { apart, bins, runs, total, union } from "./ranges.js";

const WIDE = 1024;
const HIGH = 48;
const NAMED = 0.028; // of the width, from which on a stretch has room for its name
const TICK = 1.6;
const PASSES = [1, 2, 3, 4];
const PIN_PX = 20;
const TICKS = 4;
const POINTER_MS = 120;

export class ContextMap {
  /** `context`: of the head. `ask`: gets what the server knows of it, or null where there is none (an export). */
  constructor(context, { ask, isOnly, isOpen, number }) {
    Object.assign(this, { context, ask, id: `map-${number}` });
    this.whole = {
      from: 0,
      to: Math.max(1, context.chars),
      searched: null,
      delivered: [],
      stretches: context.stretches ?? [],
    };
    this.view = this.whole;
    this.fresh = [];
    this.citations = [];
    this.lanes = new Lanes(context, ask);
    this.sized = new ResizeObserver(() => this.#tracks()); // pins have their places in pixels
    this.#build(isOnly, isOpen);
    this.draw();
    this.sized.observe(this.plot);
  }

  /** Passes over each of 1,024 parts of it; null: not tracked. */
  searchedBy(bins) {
    this.whole.searched = bins;
    this.isTold = true;
    if (this.view !== this.whole) this.#look(this.view.stretch);
  }

  deliver(ranges) {
    this.fresh.push(...ranges);
  }

  cite(citations) {
    this.citations = citations;
  }

  draw() {
    if (this.fresh.length) {
      this.whole.delivered = union([...this.whole.delivered, ...this.fresh]);
      if (this.view !== this.whole) this.view.delivered = union([...this.view.delivered, ...this.fresh]);
      this.fresh = [];
      this.lanes.isStale = true;
    }
    this.#legend();
    this.#tracks();
    this.lanes.draw();
  }

  async #zoom(stretch) {
    if (await this.#look(stretch)) this.#moved();
  }

  /** Have a stretch as the window; false where the server does not answer. */
  async #look(stretch) {
    const { start: from, end: to } = stretch;
    const found = this.ask ? await this.ask("map", { from, to, bins: WIDE }).catch(() => null) : this.#within(from, to);
    if (found === null) return false;
    const searched = typeof found.searched === "string" ? bins(found.searched) : found.searched;
    this.view = { ...found, searched, stretch };
    return true;
  }

  #back() {
    this.view = this.whole;
    this.#moved();
  }

  #moved() {
    this.#names();
    this.draw();
    this.names.querySelector("button")?.focus();
  }

  /** A window out of what the page has itself: as fine as the whole. */
  #within(from, to) {
    const { searched, delivered, stretches } = this.whole;
    const bin = (place) => Math.round((place / this.whole.to) * WIDE);
    return {
      from,
      to,
      searched: searched?.slice(bin(from), Math.max(bin(to), bin(from) + 1)),
      delivered,
      stretches: stretches.filter((one) => one.start >= from && one.end <= to),
    };
  }

  #build(isOnly, isOpen) {
    const { context } = this,
      of = `${count(context.chars)} characters in ${plural(context.documents, "document")}`;
    this.title = make("p", null, of);
    this.of = of;
    this.leave = make("button.small", { type: "button", hidden: true, onclick: () => this.#back() }, "Whole context");
    this.where = make("span.where", { "aria-hidden": "true" });
    this.keys = make("ul.legend", null);
    this.names = make("div.names", null);
    this.plot = make("div.plot", { onmousemove: (event) => this.#point(event), onmouseleave: () => this.#unpoint() });
    this.axis = make("div.axis", { "aria-hidden": "true" });
    const name = make(
      "h2",
      { id: this.id },
      "Context",
      isOnly ? null : [" ", make("code", null, inline(context.name))],
    );
    const parts = [
      make("div.map-head", null, isOnly ? name : null, this.title, this.leave, this.where, this.keys),
      this.names,
      this.plot,
      this.axis,
      this.lanes.element,
    ];
    this.element = isOnly
      ? make("section.map", { "aria-labelledby": this.id }, parts)
      : make(
          "section.map",
          { "aria-labelledby": this.id },
          make("details", { open: isOpen }, make("summary", null, name, make("span.count", null, of)), parts),
        );
    this.#names();
  }

  #legend() {
    const { searched, delivered } = this.whole,
      chars = Math.max(1, this.context.chars),
      told = total(delivered);
    const cited = total(union(this.citations.map((one) => [one.start, one.end])));
    const passed = searched ? percent(searched.reduce((sum, passes) => sum + (passes > 0), 0) / searched.length) : null;
    const isWhole = this.view === this.whole;
    const { from, to, stretch } = this.view;
    fill(this.title, isWhole ? this.of : [inline(stretch.name), ` · characters ${count(from)} to ${count(to)}`]);
    this.leave.hidden = isWhole;
    fill(
      this.keys,
      make(
        "li.of-searched",
        {
          title: "Counted in the kernel, which the session’s code controls. What operations of str did is not tracked.",
        },
        passed === null
          ? `searched: ${this.isTold ? "not tracked" : "not known yet"}`
          : [`searched ${passed}`, make("small", null, " the kernel’s word")],
      ),
      make(
        "li.of-delivered",
        { title: "Characters that the agent was given, as the host saw them." },
        `delivered ${count(told)} chars, ${percent(told / chars)}`,
      ),
      make("li.of-cited", null, cited ? `cited ${count(cited)} chars` : "nothing cited yet"),
    );
  }

  #x(place) {
    const { from, to } = this.view;
    return Math.max(0, Math.min(WIDE, ((place - from) / (to - from)) * WIDE));
  }

  #names() {
    const { from, to, stretches } = this.view;
    const share = (one) => (Math.min(one.end, to) - Math.max(one.start, from)) / (to - from);
    fill(
      this.names,
      stretches
        .filter((one) => share(one) > NAMED)
        .map((one) => {
          const name = one.documents > 1 && !/[/)]$/.test(one.name) ? `${one.name}/` : one.name;
          const place = {
            "--x": `${(this.#x(one.start) / WIDE) * 100}%`,
            "--w": `${((this.#x(one.end) - this.#x(one.start)) / WIDE) * 100}%`,
          };
          const title = `${count(one.end - one.start)} characters in ${plural(one.documents, "document")}`;
          return make(
            "button.stretch",
            { type: "button", title, ...place, onclick: () => this.#zoom(one) },
            inline(one.documents > 1 ? name : name.split("/").at(-1)),
          );
        }),
    );
  }

  #tracks() {
    const { from, to, searched, delivered, stretches } = this.view;
    const bands = stretches.map((one, at) =>
      make(`rect.band${at % 2 ? ".is-odd" : ""}`, {
        x: this.#x(one.start),
        y: 0,
        height: 3,
        width: Math.max(0.4, this.#x(one.end) - this.#x(one.start)),
      }),
    );
    const unit = searched?.length ? WIDE / searched.length : 0;
    const levels = PASSES.map((least) =>
      make(`path.searched.pass-${least}`, {
        d: runs(searched ?? [], least)
          .map(([a, b]) => box(a * unit, (b - a) * unit, 26 - least * 5, 5))
          .join(""),
      }),
    );
    const seen = union(
      delivered.filter(([a, b]) => b >= from && a <= to),
      (to - from) / WIDE / 2,
    );
    const ticks = make("path.delivered", {
      d: seen.map(([a, b]) => box(this.#x(a), Math.max(TICK, this.#x(b) - this.#x(a)), 30, 16)).join(""),
    });
    fill(
      this.plot,
      make(
        "svg",
        { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        bands,
        levels,
        ticks,
      ),
      this.#pins(),
    );
    fill(
      this.axis,
      Array.from({ length: TICKS + 1 }, (_, at) =>
        make("span", null, short(Math.round(from + ((to - from) * at) / TICKS))),
      ),
    );
  }

  /** A number for each citation; crowded ones move aside, and their stems do not. */
  #pins() {
    const { from, to } = this.view,
      wide = this.plot.clientWidth || WIDE;
    const seen = this.citations.filter((one) => one.start <= to && one.end >= from).sort((a, b) => a.start - b.start);
    const stems = seen.slice(0, Math.floor(wide / PIN_PX)).map((one) => (this.#x(one.start) / WIDE) * wide);
    const places = apart(
      stems.map((stem) => stem - PIN_PX / 2),
      PIN_PX,
      wide,
    );
    return stems.map((stem, at) => {
      const one = seen[at],
        label = `Citation ${numberOf(one)}, ${placeOf(one)}`;
      return make(
        "a.pin",
        {
          href: `#cite-${one.id}`,
          "aria-label": label,
          "--place": `${places[at].toFixed(1)}px`,
          "--stem": `${(stem - places[at]).toFixed(1)}px`,
        },
        numberOf(one),
      );
    });
  }

  #point(event) {
    const bounds = this.plot.getBoundingClientRect(),
      { from, to } = this.view;
    const place = Math.round(from + ((event.clientX - bounds.left) / bounds.width) * (to - from));
    clearTimeout(this.pointing);
    if (!this.ask) return void fill(this.where, `character ${count(place)}`);
    this.pointing = setTimeout(async () => {
      const found = await this.ask("documents", { at: place }).catch(() => null);
      if (found) fill(this.where, inline(found.name), ` · character ${count(place)}`);
    }, POINTER_MS);
  }

  #unpoint() {
    clearTimeout(this.pointing);
    fill(this.where);
  }
}

const box = (x, width, y, height) => `M${x.toFixed(1)} ${y}h${width.toFixed(1)}v${height}h-${width.toFixed(1)}z`;
