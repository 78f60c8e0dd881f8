// Find in all steps, also in those that are not drawn. Is: a search of the data, with an exact count, which goes round, and
// which lets the page go on while there are many. Is not: the browser's own find, which sees what is drawn. Texts that are
// cut are searched at their ends, and that is said.
// Above: `views/steps.js`.
import { make } from "../ground/dom.js";
import { count } from "../ground/words.js";
import { titleOf } from "../run/cards.js";

const FIELDS = ["code", "stdout", "stderr", "result"];
const MARKS = 500;
const TURN_MS = 4; // of a search, after which the page has its turn
const AT_LEAST = 64; // events in a turn, so that a short run is searched in one

const textsOf = (event) => [
  ...FIELDS.map((field) => event[field]),
  event.error?.traceback,
  ...(event.images ?? []).map((image) => image.source),
];

/** All that can be found of an event, in lower case. */
function textOf(event) {
  const texts = textsOf(event);
  const parts = [titleOf(event), event.summary, event.note, event.error?.ename, event.error?.evalue];
  for (const text of texts) if (text) parts.push(text.text ?? text, text.tail);
  for (const one of event.changed ?? []) parts.push(one.name);
  parts.push(...(event.restored ?? []));
  for (const one of event.lost ?? []) parts.push(one.name, one.why);
  return parts.filter(Boolean).join("\n").toLowerCase();
}

const isCut = (event) => textsOf(event).some((text) => text?.cut);

export class Find {
  /** `events`: those that are shown. `go` shows one, and returns its card. */
  constructor({ events, go }) {
    Object.assign(this, { events, go, texts: new WeakMap(), found: [], at: -1, words: "", asked: 0, wanted: 0 });
    this.said = make("output.found", { "aria-live": "polite", for: "find" });
    this.input = make("input", {
      type: "search",
      id: "find",
      placeholder: "Find in all steps",
      "aria-label": "Find in all steps",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.#look(),
      onkeydown: (event) => this.#key(event),
    });
    this.element = make("span.find", null, this.input, this.said);
  }

  clear() {
    this.input.value = "";
    this.#look();
  }

  #key(event) {
    if (event.key === "Escape") {
      this.clear();
      this.input.blur();
    }
    if (event.key !== "Enter") return;
    event.preventDefault();
    const by = event.shiftKey ? -1 : 1;
    if (this.words !== this.input.value.trim().toLowerCase()) this.#look();
    else if (this.isLooking) this.wanted += by;
    else this.#move(by);
  }

  #look() {
    this.words = this.input.value.trim().toLowerCase();
    Object.assign(this, { found: [], at: -1, wanted: 0, isPart: false, isLooking: true });
    this.asked += 1;
    this.#search(this.words ? [...this.events()] : [], 0, this.asked);
  }

  /** From one event on, until it is the page's turn. The first that is found is shown at once. */
  #search(events, from, asked) {
    if (asked !== this.asked) return; // other words are looked for by now
    const until = performance.now() + TURN_MS;
    let at = from;
    for (; at < events.length && (at - from < AT_LEAST || performance.now() < until); at += 1) {
      if (this.#textOf(events[at]).includes(this.words)) this.found.push(events[at]);
      this.isPart ||= isCut(events[at]);
    }
    this.isLooking = at < events.length;
    if (this.isLooking) setTimeout(() => this.#search(events, at, asked));
    if (this.at < 0) this.#move(1);
    if (!this.isLooking && this.wanted) this.#move(this.wanted);
    this.#say();
  }

  #textOf(event) {
    if (!this.texts.has(event)) this.texts.set(event, textOf(event));
    return this.texts.get(event);
  }

  #move(by) {
    const many = this.found.length;
    if (!many) return;
    this.at = (((this.at + by) % many) + many) % many; // after the last comes the first
    const node = this.go(this.found[this.at], { moves: false });
    this.#say();
    if (node) mark(node, this.words);
  }

  #say() {
    const many = this.found.length;
    const said = many ? `${count(this.at + 1)} of ${count(many)}` : this.words ? "nothing found" : "";
    this.said.textContent = this.isLooking ? "" : said; // who listens hears one count, which is exact
    this.said.title = this.isPart ? "Texts that are cut were searched at their ends alone." : "";
    if (!this.words) mark(null, "");
  }
}

/** Mark the words in a card, where the browser can do so without changing the document. */
function mark(node, words) {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  if (!node || !words) return;
  const ranges = [],
    walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && ranges.length < MARKS) {
    const text = walker.currentNode.data.toLowerCase();
    if (text.length !== walker.currentNode.data.length) continue; // a letter that has another length in lower case
    for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
      const range = new Range();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + words.length);
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
