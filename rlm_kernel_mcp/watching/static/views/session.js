// One session: its question, its limits, what matters now, the map, the steps, and what stands beside them. Is: the drawing of
// what the stream says, once a frame. Is not: any of these parts. Above: `app.js`.
import { $, fill, make } from "../ground/dom.js";
import { inline } from "../ground/foreign.js";
import { clock, LIVE, PASSES, plural, roughly, STATES } from "../ground/words.js";
import { outcomeOf, titleOf } from "../run/cards.js";
import { ContextMap } from "../run/map.js";
import { isWrong, rangesOf, Record } from "../run/record.js";
import { Beside } from "./beside.js";
import { meters } from "./meters.js";
import { Now } from "./now.js";
import { Steps } from "./steps.js";

const TICK_MS = 1_000;
const PICTURE_ID = /^[\w.-]{1,100}$/; // it goes into an address
const KIND = /^image\/(png|jpeg|svg\+xml)$/;

export const pill = (status) =>
  make(`span.pill.is-${status}`, null, make("i", { "aria-hidden": "true" }), STATES[status] ?? status);

export class SessionView {
  /** `server`: whom to ask, and how; null where the page has everything itself. `say`: tells who listens. */
  constructor(id, { server, say, showKeys }) {
    Object.assign(this, { server, say, came: [], maps: new Map(), isAsked: false, wasLive: false });
    this.record = new Record(id);
    const read = (event, field, from) =>
      server ? server.get(`api/s/${id}/text`, { event: event.id, field, from }) : Promise.resolve(inHand(event, field));
    const ask = server ? (what, query) => server.get(`api/s/${id}/${what}`, query) : null;
    this.ask = ask;
    this.opened = new Set();
    const tools = {
      read,
      opened: this.opened,
      image: (image) => this.#image(image),
      limit: (name) => this.record.head.limits[name],
      pause: (event) => this.record.pauseBefore(event),
    };
    this.steps = new Steps(this.record, tools, { showKeys });
    this.now = new Now(this.record, { read });
    this.beside = new Beside(this.record, { ask, sessionAddress: (child) => this.sessionAddress(child) });
    this.#build();
    this.ticking = setInterval(() => this.record.running && this.#limits(), TICK_MS);
  }

  /** Of another session; null where there is no server that has it. */
  sessionAddress(id) {
    return this.server && `#/s/${encodeURIComponent(id)}`;
  }

  close() {
    clearInterval(this.ticking);
    cancelAnimationFrame(this.frame);
  }

  /** One message of the stream. Drawn with the next frame, with all that has come by then. */
  hear(message) {
    const was = this.record.status,
      kept = this.record.take(message, performance.now());
    this.came.push(...kept);
    if (message.type === "map") this.maps.get(message.context)?.searchedBy(this.record.searched.get(message.context));
    if (message.type === "documents") this.maps.get(message.context)?.lanes.bring(message);
    if (message.type === "head") this.#head();
    for (const { event } of kept) this.#onMap(event);
    this.#tell(message, was, kept);
    this.wasLive ||= message.type === "head" && LIVE.has(message.status);
    if (!this.isAsked) {
      this.isAsked = true;
      this.frame = requestAnimationFrame(() => this.draw());
    }
  }

  draw() {
    this.isAsked = false;
    const came = this.came;
    this.came = [];
    this.#limits();
    this.now.draw();
    for (const map of this.maps.values()) map.draw();
    this.steps.draw(came);
    this.beside.draw();
  }

  /** Everything at once, for paper; afterwards as before. */
  whole(isWhole) {
    if (isWhole) this.draw();
    this.steps.feed.drawAll(isWhole);
  }

  toTop() {
    scrollTo({ top: 0, behavior: "instant" });
    $("#answer, .slot section", this.now.element)?.focus({ preventScroll: true });
  }

  #build() {
    this.title = make("h1", null);
    this.state = make("div.state", null);
    this.meters = make("div.meters", { role: "group", "aria-label": "Limits" });
    this.context = make("div.contexts", null);
    this.element = make(
      "div.session",
      null,
      make("div.hero", null, this.title, this.state, this.meters, this.now.element),
      this.context,
      make("div.columns", null, this.steps.element, this.beside.element),
    );
  }

  #head() {
    const { head } = this.record;
    fill(this.title, head.title ? inline(head.title) : make("em", null, "No question was given"));
    const contexts = head.contexts.filter((one) => one.chars > 0);
    if (contexts.map((one) => `${one.name} ${one.chars}`).join() === this.drawnContexts) return;
    this.drawnContexts = contexts.map((one) => `${one.name} ${one.chars}`).join();
    this.maps = new Map(contexts.map((one, number) => [one.name, this.#map(one, number, contexts.length)]));
    fill(
      this.context,
      [...this.maps.values()].map((map) => map.element),
    );
    for (const event of this.record.events) this.#onMap(event);
  }

  #map(context, number, many) {
    const ask = this.ask && ((what, query) => this.ask(what, { context: context.name, ...query }));
    const map = new ContextMap(context, { ask, isOnly: many === 1, isOpen: number === 0, number });
    if (this.record.searched.has(context.name)) map.searchedBy(this.record.searched.get(context.name));
    if (this.record.documents.has(context.name)) map.lanes.bring(this.record.documents.get(context.name));
    return map;
  }

  #onMap(event) {
    const [first] = this.maps.keys();
    for (const [name, from, to] of rangesOf(event.delivered)) this.maps.get(name ?? first)?.deliver([[from, to]]);
    if (event.type !== "final") return;
    for (const [name, map] of this.maps)
      map.cite(
        (event.citations ?? []).filter(
          (one) => PASSES.has(one.status) && Number.isInteger(one.start) && (one.context ?? first) === name,
        ),
      );
  }

  #limits() {
    const { record } = this,
      now = performance.now(),
      { head, running, state } = record;
    const doing = running ? `step ${running.step} for ${roughly(Math.max(0, now - running.since))}` : null;
    const waits = state.waits ? `it waits for ${plural(state.waits, "answer")}` : null;
    fill(
      this.state,
      pill(record.status),
      doing ? make("span.doing", null, doing) : null,
      waits ? make("span", null, waits) : null,
      head.client ? make("span", null, inline(head.client)) : null,
      record.opened ? make("span", null, `opened ${clock(record.opened)}`) : null,
      head.walls.length ? make("span", null, `${plural(head.walls.length, "wall holds", "walls hold")}`) : null,
      head.parent
        ? make(
            "span",
            null,
            "asked by ",
            make("a", { href: this.sessionAddress(head.parent) }, make("code", null, inline(head.parent))),
          )
        : null,
      state.words ? make("span", null, inline(state.words)) : null,
    );
    this.meters.classList.toggle("is-over", record.status === "finalized");
    const hadFocus = this.meters.contains(document.activeElement);
    fill(
      this.meters,
      meters(record, now, (event) => this.steps.jump(event)),
    );
    if (hadFocus) $("a", this.meters)?.focus({ preventScroll: true });
  }

  #image(image) {
    if (!KIND.test(image.mime ?? "") || image.why) return null;
    if (image.data) return image.data; // of an export, as a data address
    return this.server && PICTURE_ID.test(image.sha ?? "")
      ? this.server.address(`api/s/${this.record.head.id}/image/${image.sha}`)
      : null;
  }

  /** For who listens: faults, a stop, the end; never output. */
  #tell(message, was, kept) {
    if (message.type === "event") {
      for (const { event, isNew } of kept)
        if (isNew && isWrong(event)) this.say(`${titleOf(event)}: ${outcomeOf(event)}`);
    }
    const { status } = this.record;
    if (status !== was && !LIVE.has(status) && this.wasLive) this.say(STATES[status] ?? status);
  }
}

/** What an export has of a text: its ends. */
function inHand(event, field) {
  const [, shown] = /^shown-(\d+)$/.exec(field) ?? [];
  const text = shown ? event.images[shown]?.source : field === "traceback" ? event.error?.traceback : event[field];
  const cut = text?.cut ? `\n[… ${text.cut.toLocaleString("en")} characters are not in this file …]\n` : "";
  return { text: `${text?.text ?? ""}${cut}${text?.tail ?? ""}`, next: null };
}
