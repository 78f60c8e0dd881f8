// Find in all steps, also in those that are not drawn. Is: a search of the data, with an exact count, which goes round. Is
// not: the browser's own find, which sees what is drawn. Texts that are cut are searched at their ends, and that is said.
// Above: `views/steps.js`.
import { make } from "../ground/dom.js";
import { count } from "../ground/words.js";
import { titleOf } from "../run/cards.js";

const FIELDS = ["code", "stdout", "stderr", "result"];
const MARKS = 500;

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
    Object.assign(this, { events, go, texts: new WeakMap(), found: [], at: -1, words: "" });
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
    if (this.words !== this.input.value.trim().toLowerCase()) this.#look();
    else this.#move(event.shiftKey ? -1 : 1);
  }

  #look() {
    this.words = this.input.value.trim().toLowerCase();
    const events = this.events();
    this.found = this.words ? events.filter((event) => this.#textOf(event).includes(this.words)) : [];
    this.isPart = this.words !== "" && events.some(isCut);
    this.at = -1;
    if (this.found.length) this.#move(1);
    else this.#say();
  }

  #textOf(event) {
    if (!this.texts.has(event)) this.texts.set(event, textOf(event));
    return this.texts.get(event);
  }

  #move(by) {
    const many = this.found.length;
    if (!many) return;
    this.at = (this.at + by + many) % many; // after the last comes the first
    const node = this.go(this.found[this.at], { moves: false });
    this.#say();
    if (node) mark(node, this.words);
  }

  #say() {
    const place = this.found.length
      ? `${count(this.at + 1)} of ${count(this.found.length)}`
      : this.words
        ? "nothing found"
        : "";
    this.said.textContent = place;
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
