// What the stream has said of one session. Is: the events by id, in their order, and the sums over them, each kept as it
// comes. Is not: anything drawn. Above: `views/session.js`.
import { bins } from "./ranges.js";

const WRONG = new Set(["error", "timeout", "interrupted", "kernel_died", "stopped", "unknown"]);
const TAIL_CHARS = 20_000; // of a running step's output

/** Of a person's cell nobody may have heard the end, which is no fault. */
export const isWrong = (event) =>
  ["restore", "interrupt", "stop", "refused"].includes(event.type) ||
  (event.type === "step" && WRONG.has(event.status) && !(event.status === "unknown" && event.source === "console"));

/** What an event is at a glance; each has a colour and a word. */
export function kindOf(event) {
  if (event.type === "restore" || event.type === "interrupt") return "kill";
  if (event.type === "stop" || event.type === "refused") return "bad";
  if (event.type === "subcalls") return "calls";
  if (event.type === "final") return "final";
  if (event.source === "console") return "person";
  return isWrong(event) ? "bad" : "ok";
}

/** What can be chosen to be shown. */
export const CHOICES = {
  all: { label: "All", has: () => true },
  wrong: { label: "Went wrong", has: isWrong },
  delivered: { label: "Delivered text", has: (event) => rangesOf(event.delivered).length > 0 },
  calls: { label: "Sub-calls", has: (event) => event.type === "subcalls" },
  person: { label: "A person’s", has: (event) => event.source === "console" },
};

/** Ids are nanoseconds in digits, too large for a number. */
export const inOrder = (one, other) => one.length - other.length || (one < other ? -1 : one > other ? 1 : 0);

/** Ranges of characters as [context or null, from, to]; a list stands for the first context. */
export function rangesOf(delivered) {
  if (!delivered) return [];
  if (Array.isArray(delivered)) return delivered.map(([from, to]) => [null, from, to]);
  return Object.entries(delivered).flatMap(([name, ranges]) => ranges.map(([from, to]) => [name, from, to]));
}

/** A text with its end, as far as the stream has it. */
export const endOf = (text) => (text ? (text.tail ?? text.text) : "");

/** The beginning of a text, which is a string or has more than one part. */
export const startOf = (text) => (typeof text === "string" ? text : (text?.text ?? ""));

export class Record {
  constructor(id) {
    this.head = { id, title: null, status: "idle", client: null, limits: {}, walls: [], contexts: [] };
    this.status = "idle";
    this.events = [];
    this.names = new Map();
    this.counts = Object.fromEntries(Object.keys(CHOICES).map((choice) => [choice, 0]));
    this.searched = new Map(); // context to 1,024 bytes of passes
    this.documents = new Map(); // context to its lanes, where an export has brought them
    this.running = null;
    this.state = { live: true, words: "", waits: 0 };
    this.used = { steps: 0, runtime_ms: 0, chars: 0 };
    this.usedAt = "0";
    this.costliest = null;
    this.final = null;
    this.stop = null;
    this.known = new Set();
    this.pauses = new WeakMap(); // by step, as long as nothing before it is other than it was
    this.revision = 0; // another one where an event is new or other than it was
  }

  get opened() {
    return this.head.opened ?? this.events[0]?.ts;
  }

  lastStep() {
    return this.events.findLast((event) => event.type === "step" && event.source !== "console");
  }

  /** Milliseconds from the end of the agent's step before to a step; 0 where that is not known, or it had to wait. */
  pauseBefore(event) {
    if (event.type !== "step" || event.source === "console") return 0;
    if (!this.pauses.has(event)) this.pauses.set(event, this.#pauseBefore(event)); // the run is drawn with each event
    return this.pauses.get(event);
  }

  #pauseBefore(event) {
    for (let at = this.#placeOf(event) - 1; at >= 0; at -= 1) {
      const before = this.events[at];
      if (before.type === "subcalls") return 0; // who answered was waited for
      if (before.type === "step" && before.source !== "console")
        return Math.max(0, Date.parse(event.ts) - Date.parse(before.ts) - (before.ms ?? 0)) || 0;
    }
    return 0;
  }

  #placeOf(event) {
    let [low, high] = [0, this.events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (inOrder(this.events[middle].id, event.id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Take one message of the stream. Returns the events that are new or other than they were, each with its place. */
  take(message, now) {
    switch (message.type) {
      case "head":
        this.head = { ...this.head, ...message };
        this.#stand(message.status);
        if (message.used && this.usedAt === "0") this.used = { ...this.used, ...message.used };
        return [];
      case "state":
        this.state = message;
        this.#stand(message.status);
        return [];
      case "events":
        return message.events.map((event) => this.#keep(event)).filter(Boolean);
      case "event": {
        if (this.#ends(message.event)) this.running = null;
        this.#stand(message.status);
        const kept = this.#keep(message.event);
        return kept ? [kept] : [];
      }
      case "begin":
        this.status = "running";
        this.running = { ...message, out: message.so_far ?? "", skipped: 0, since: now - (message.elapsed_ms ?? 0) };
        return [];
      case "output":
        if (this.running?.step === message.step) this.#print(message);
        return [];
      case "map":
        this.searched.set(message.context, bins(message.searched));
        return [];
      case "documents":
        this.documents.set(message.context, message);
        return [];
      case "end":
        this.running = null;
        this.#stand(message.status);
        return [];
      default:
        return []; // there will be more
    }
  }

  #stand(status) {
    this.status = status ?? this.status;
    if (this.status !== "running") this.running = null;
  }

  #ends(event) {
    return event.type === "final" || (event.type === "step" && event.step === this.running?.step);
  }

  #print(message) {
    this.running.out = (this.running.out + message.text).slice(-TAIL_CHARS);
    this.running.skipped += message.skipped ?? 0;
  }

  /** Put an event in its place: a step comes when it ends, after interrupts whose ids are higher. */
  #keep(event) {
    if (this.known.has(event.id)) return this.#replace(event);
    this.known.add(event.id);
    this.revision += 1;
    let at = this.events.length;
    while (at > 0 && inOrder(this.events[at - 1].id, event.id) > 0) at -= 1;
    if (at < this.events.length) this.pauses = new WeakMap();
    this.events.splice(at, 0, event);
    this.#count(event, 1);
    this.#sum(event);
    return { event, at, isNew: true };
  }

  #replace(event) {
    const at = this.events.findLastIndex((found) => found.id === event.id);
    if (JSON.stringify(this.events[at]) === JSON.stringify(event)) return null;
    this.revision += 1;
    if (this.events[at].ms !== event.ms) this.pauses = new WeakMap();
    this.#count(this.events[at], -1);
    this.events[at] = event;
    this.#count(event, 1);
    this.#sum(event);
    return { event, at, isNew: false };
  }

  #count(event, by) {
    for (const [choice, { has }] of Object.entries(CHOICES)) if (has(event)) this.counts[choice] += by;
  }

  #sum(event) {
    if (event.used && inOrder(this.usedAt, event.id) <= 0)
      [this.used, this.usedAt] = [{ ...this.used, ...event.used }, event.id];
    if ((event.cost ?? 0) > (this.costliest?.cost ?? 0)) this.costliest = event;
    if (event.type === "final") this.final = event;
    if (event.type === "stop") this.stop = event;
    for (const variable of event.changed ?? []) {
      this.names.delete(variable.name); // so that the newest is the last
      this.names.set(variable.name, { ...variable, step: event.step });
    }
    for (const lost of event.lost ?? []) {
      const name = this.names.get(lost.name) ?? { name: lost.name, type: "", size: null, step: event.step };
      this.names.set(lost.name, { ...name, fate: fateOf(lost) });
    }
  }
}

/** Of a name that a restore tells of: `older` than it was, or `lost`. */
export const fateOf = (lost) => (/^(restored|as it was|older)\b/.test(lost.why ?? "") ? "older" : "lost");
