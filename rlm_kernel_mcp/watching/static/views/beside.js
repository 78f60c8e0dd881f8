// What stands beside the steps: sub-calls as a tree, names with their sizes, walls, what lists the files. Is: boxes that a
// person opens and closes. Is not: longer than the window. Above: `views/session.js`.
import { fill, make, table } from "../ground/dom.js";
import { foreign, inline } from "../ground/foreign.js";
import { count, plural, took } from "../ground/words.js";

const WIDE = "(min-width: 70em)";
const CALLS = 200;
const NAMES = 40;
const CALLS_SHOWN = 12;
const BATCHES = 40; // the newest: code may ask thousands of questions one by one
const TITLE_CHARS = 80;

export class Beside {
  constructor(record, { ask, sessionAddress }) {
    Object.assign(this, { record, ask, sessionAddress });
    this.isOpen = matchMedia(WIDE).matches;
    this.all = new Set();
    this.drawn = {};
    this.boxes = {
      calls: box("calls", "Sub-calls", this.isOpen),
      names: box("names", "Names", this.isOpen),
      walls: box("walls", "Walls", false),
      files: box("files", "Files", false),
    };
    this.element = make(
      "aside.beside",
      { "aria-label": "What the session holds" },
      Object.values(this.boxes).map((one) => one.element),
    );
    this.boxes.files.element.addEventListener("toggle", () => this.#files());
  }

  draw() {
    this.#calls();
    this.#names();
    this.#walls();
    this.boxes.files.element.hidden = !this.ask;
  }

  #once(name, key) {
    const isSame = this.drawn[name] === key;
    this.drawn[name] = key;
    return isSame;
  }

  /** `opened`: of what a person now wants to see all. */
  #calls(opened) {
    if (opened) this.all.add(opened);
    const batches = this.record.events.filter((event) => event.type === "subcalls"),
      { element, counted, content } = this.boxes.calls;
    element.hidden = batches.length === 0;
    const shown = this.all.has("batches") ? batches : batches.slice(-BATCHES);
    const number = batches.reduce((sum, event) => sum + (event.calls?.length ?? 0) + (event.more ?? 0), 0);
    if (
      this.#once(
        "calls",
        `${number} ${this.all.size} ${shown.map((event) => (event.calls ?? []).map((one) => one.status))}`,
      )
    )
      return;
    counted.textContent = count(number);
    fill(
      content,
      shown.length < batches.length
        ? make(
            "button.more",
            { type: "button", onclick: () => this.#calls("batches") },
            `Show ${count(batches.length - shown.length)} earlier batches`,
          )
        : null,
      shown.map((event) => this.#batch(event)),
    );
  }

  #batch(event) {
    const most = this.all.has(event.id) ? CALLS : CALLS_SHOWN,
      calls = (event.calls ?? []).slice(0, most);
    const hidden = (event.calls?.length ?? 0) - calls.length,
      left = hidden + (event.more ?? 0);
    const tokens = event.tokens ?? sum(event.calls, "tokens");
    const facts = [
      `Step ${event.step}`,
      event.backend ?? event.calls?.[0]?.backend,
      event.ms ? took(event.ms) : null,
      tokens ? plural(tokens, "token") : null,
    ];
    const more =
      hidden > 0
        ? make("button.more", { type: "button", onclick: () => this.#calls(event.id) }, `and ${count(left)} more`)
        : left > 0
          ? make("span.rest", null, `and ${count(left)} more`)
          : null;
    return make(
      "div.batch",
      null,
      make("p", null, inline(facts.filter(Boolean).join(" · "))),
      make(
        "ul.tree",
        null,
        calls.map((one) => this.#call(one)),
        more ? make("li", null, more) : null,
      ),
    );
  }

  #call(one) {
    const { status, child } = one,
      title = one.question || one.kind;
    const isFine = ["ok", "cached", "duplicate"].includes(status);
    const word = status !== "ok" ? status.toLowerCase().replaceAll("_", " ") : child ? "child" : took(one.ms);
    return make(
      "li",
      null,
      make(
        "details",
        null,
        make(
          "summary",
          null,
          make("span.asked", null, inline(title.slice(0, TITLE_CHARS))),
          make(isFine ? "span" : "span.is-bad", null, inline(word)),
        ),
        child
          ? make("p", null, make("a", { href: this.sessionAddress(child) }, make("code", null, inline(child))))
          : null,
        title.length > TITLE_CHARS ? make("p", null, foreign(title)) : null,
        one.chars ? make("p.rest", null, `about a text of ${plural(one.chars, "character")}`) : null,
        one.answer ? make("p", null, foreign(one.answer)) : null,
      ),
    );
  }

  #names(opened) {
    if (opened) this.all.add(opened);
    const all = [...this.record.names.values()].reverse(),
      { element, counted, content } = this.boxes.names;
    element.hidden = all.length === 0;
    if (this.#once("names", `${this.record.revision} ${this.all.has("names")}`)) return;
    counted.textContent = count(all.length);
    const shown = this.all.has("names") ? all : all.slice(0, NAMES);
    fill(
      content,
      table("table.names-table", ["Name", "Type", "Size", "Step"], shown.map(nameRow)),
      shown.length < all.length
        ? make("button.more", { type: "button", onclick: () => this.#names("names") }, `Show all ${count(all.length)}`)
        : null,
    );
  }

  #walls() {
    const { walls } = this.record.head,
      { element, counted, content } = this.boxes.walls;
    element.hidden = walls.length === 0;
    if (this.#once("walls", walls.join())) return;
    counted.textContent = count(walls.length);
    fill(
      content,
      make(
        "p.walls",
        null,
        walls.map((one) => make("code", null, inline(typeof one === "string" ? one : one.name))),
      ),
    );
  }

  /** The record has no files: the server says what lists them. */
  async #files() {
    const { element, content } = this.boxes.files;
    if (!element.open || !this.ask) return;
    const found = await this.ask("files", {}).catch((error) => ({ words: error.message }));
    fill(content, make("p.rest", null, inline(found.words)));
  }
}

const nameRow = (one) =>
  make(
    `tr${one.fate ? `.is-${one.fate}` : ""}`,
    null,
    make(
      "th",
      { scope: "row" },
      make("span", null, inline(one.name)),
      one.fate ? make("small", null, ` ${one.fate}`) : null,
    ),
    make("td", null, inline(one.type)),
    make("td", null, one.size == null ? "" : count(one.size)),
    make("td", null, count(one.step)),
  );

const sum = (calls, field) => (calls ?? []).reduce((all, one) => all + (one[field] ?? 0), 0);

function box(name, title, isOpen) {
  const counted = make("span.count", null),
    content = make("div", null);
  const element = make(
    "details.box",
    { id: `box-${name}`, open: isOpen, hidden: true },
    make("summary", null, make("h2", null, title), counted),
    content,
  );
  return { element, counted, content };
}
