// The documents that an answer can rest on: a lane each, with what of it was delivered and cited. Is: a table, the most cited
// first. Is not: all documents: those of which nothing was delivered or cited are a number. Above: `run/map.js`.
import { fill, make, table } from "../ground/dom.js";
import { inline } from "../ground/foreign.js";
import { count, plural } from "../ground/words.js";
import { total } from "./ranges.js";

const AT_FIRST = 12;
const FURTHER = 50;
const WIDE = 400;
const LEAST = 2;
const HEADINGS = ["Document", "Characters", "Where", "Delivered", "Cited"];
const WAIT_MS = 1_000; // what changes by the frame is asked for by the second

export class Lanes {
  constructor(context, ask) {
    Object.assign(this, { context, ask, most: AT_FIRST, isStale: true, found: null });
    this.summary = make("summary", null, "Documents read from");
    this.content = make("div", null);
    this.element = make("details.lanes", { hidden: true, ontoggle: () => this.draw() }, this.summary, this.content);
  }

  /** What an export has brought. */
  bring(found) {
    this.found = found;
    this.#show();
  }

  draw() {
    if (!this.ask || !this.isStale || this.waiting) return;
    this.isStale = false;
    this.waiting = setTimeout(
      async () => {
        this.waiting = null;
        const found = await this.ask("documents", { read: this.most }).catch(() => null);
        if (found) this.bring(found);
        if (this.isStale) this.draw();
      },
      this.found ? WAIT_MS : 0,
    );
  }

  #show() {
    const { documents, read, total: all } = this.found;
    this.element.hidden = read === 0;
    fill(this.summary, `${plural(read, "document")} read from; ${count(all - read)} not delivered`);
    const left = read - documents.length;
    fill(
      this.content,
      table(
        "table",
        HEADINGS,
        documents.map((one) => this.#row(one)),
      ),
      left > 0 && this.ask
        ? make(
            "button.more",
            { type: "button", onclick: () => this.#further() },
            `Show more of ${count(left)} further documents`,
          )
        : null,
    );
  }

  #further() {
    this.most += FURTHER;
    this.isStale = true;
    this.draw();
  }

  #row(document_) {
    const { name, start, chars, delivered = [], cited = [] } = document_,
      told = total(delivered);
    const x = (place) => Math.max(0, Math.min(WIDE, ((place - start) / Math.max(1, chars)) * WIDE));
    const bar =
      (kind) =>
      ([from, to]) =>
        make(`rect.${kind}`, { x: x(from).toFixed(1), width: Math.max(LEAST, x(to) - x(from)).toFixed(1), height: 12 });
    const lane = make(
      "svg.lane",
      { viewBox: `0 0 ${WIDE} 12`, preserveAspectRatio: "none", "aria-hidden": "true" },
      make("rect.bed", { width: WIDE, height: 12 }),
      delivered.map(bar("delivered")),
      cited.map(bar("cited")),
    );
    return make(
      "tr",
      null,
      make("th", { scope: "row" }, inline(name)),
      make("td", null, count(chars)),
      make("td", null, lane),
      make("td", null, told === 0 && cited.length ? "cited, not delivered" : count(told)),
      make("td", null, cited.length ? count(cited.length) : ""),
    );
  }
}
