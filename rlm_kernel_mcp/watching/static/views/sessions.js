// All sessions, the live ones first. Is: a row each, which is one link. Is not: a filter, nor a dashboard of sums. Above:
// `app.js`.
import { fill, make } from "../ground/dom.js";
import { inline } from "../ground/foreign.js";
import { ago, count, LIVE, plural, roughly, short } from "../ground/words.js";
import { beats } from "../run/strip.js";
import { small } from "./meters.js";
import { pill } from "./session.js";

const TICK_MS = 10_000;

/** A row's place in the list, as the server takes it: several may have been used at the same moment. */
const place = (row) => `${row.last},${row.id}`;

const newestFirst = (one, other) => (one.last < other.last || (one.last === other.last && one.id < other.id) ? 1 : -1);

export class SessionsView {
  constructor({ server }) {
    Object.assign(this, { server, rows: new Map(), older: 0 });
    this.lists = make("div", null);
    this.element = make("div.sessions", null, make("h1", null, "Sessions"), this.lists);
    this.drawn = new Map(); // by id: the row, its age in words, and its element
    this.ticking = setInterval(() => this.draw(), TICK_MS);
  }

  async load(before) {
    const found = await this.server.get("api/sessions", before ? { before } : {});
    this.older = found.older ?? 0;
    this.#take(found.sessions);
    this.isLoaded = true;
    this.draw();
  }

  hear(message) {
    if (message.type !== "sessions") return;
    this.#take(message.sessions);
    for (const id of message.gone ?? []) this.rows.delete(id);
    if (this.isLoaded) this.draw();
  }

  close() {
    clearInterval(this.ticking);
  }

  /** A row's element: the one that is there, unless anything of it is other than it was. */
  #item(row) {
    const age = ago(Date.now() - Date.parse(row.last)),
      was = this.drawn.get(row.id);
    if (was && was.row === row && was.age === age) return was.element;
    const element = make("li", null, link(row, age));
    this.drawn.set(row.id, { row, age, element });
    return element;
  }

  #take(rows) {
    for (const row of rows) this.rows.set(row.id, row);
  }

  draw() {
    const rows = [...this.rows.values()].sort(newestFirst);
    const groups = [
      ["Live", rows.filter((row) => LIVE.has(row.status))],
      ["Ended", rows.filter((row) => !LIVE.has(row.status))],
    ];
    const focused = document.activeElement?.closest?.("a.row")?.getAttribute("href");
    fill(
      this.lists,
      groups.map(([word, found]) =>
        found.length
          ? group(
              word,
              found.map((row) => this.#item(row)),
            )
          : null,
      ),
      rows.length
        ? null
        : make("p.empty", null, "There is no session yet. One appears here as soon as an agent opens it."),
      this.older
        ? make(
            "button.more",
            { type: "button", onclick: () => this.load(place(rows.at(-1))).catch(() => null) },
            `Show older ones: ${count(this.older)}`,
          )
        : null,
    );
    if (focused) this.lists.querySelector(`a.row[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

const group = (word, items) =>
  make(
    "section",
    { "aria-label": word },
    make("h2", null, word, " ", make("span.count", null, count(items.length))),
    make("ul", null, items),
  );

function link(row, age) {
  const size = row.chars >= 1e9 ? short(row.chars) : count(row.chars),
    held = row.held === "mapped" ? ", mapped" : "";
  const context =
    row.chars == null ? "no context yet" : `${size} characters, ${plural(row.documents, "document")}${held}`;
  const facts = [row.client, context, age, row.parent ? `asked by ${row.parent}` : null];
  const doing = row.running ? `step ${row.running.step} for ${roughly(row.running.elapsed_ms)}` : row.said;
  return make(
    "a.row",
    { href: `#/s/${encodeURIComponent(row.id)}` },
    make("span.row-title", null, row.title ? inline(row.title) : make("em", null, "no question was given")),
    pill(row.status),
    doing ? make("span.row-now", null, inline(doing)) : null,
    make(
      "span.row-facts",
      null,
      make("code", null, inline(row.id)),
      facts.filter(Boolean).map((fact) => [" · ", inline(fact)]),
    ),
    beats(row.pulse ?? ""),
    small(row.used, row.limits),
  );
}
