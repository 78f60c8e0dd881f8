// What an answer rests on: marks in its prose, and a note for each with the passage. Is: the same for an answer and for one
// that was refused. Is not: a check, which the host has made. Above: `run/cards.js`, `views/now.js`.
import { make } from "../ground/dom.js";
import { foreign, inline, plainly } from "../ground/foreign.js";
import { count, PASSES, plural, percent, VERDICTS } from "../ground/words.js";

const MARK = /(\[c\d{1,9}\])/;
const BEFORE_LINES = 2;

/** What a note is called: 3 of `c3`; `q1` is of a quote, which no mark in the prose leads to. */
export const numberOf = (citation) => citation.id.replace(/^c/, "");

export const placeOf = (row) => `${row.doc ?? row.path ?? ""}:${row.start_line ?? "?"}`;

/** Paragraphs of an answer as text, in which a mark leads to its note. */
export function prose(answer, citations) {
  const seen = new Set();
  return answer.split(/\n{2,}/).map((paragraph) =>
    make(
      "p",
      null,
      paragraph.split(MARK).map((part) => {
        const citation = MARK.test(part) && citations.find((one) => `[${one.id}]` === part);
        if (!citation) return foreign(part);
        const id = seen.has(citation.id) ? null : `ref-${citation.id}`;
        seen.add(citation.id);
        return make(
          "sup",
          null,
          make(
            "a.ref",
            {
              href: `#cite-${citation.id}`,
              id,
              "aria-label": `Citation ${numberOf(citation)}, ${VERDICTS[citation.status] ?? citation.status}`,
            },
            numberOf(citation),
          ),
        );
      }),
    ),
  );
}

/** One note. `at`: what begins its id, where the same citation stands in several places. */
export function note(citation, { at = "cite", back = null } = {}) {
  const passes = PASSES.has(citation.status),
    found = passes ? citation : citation.nearest;
  const number = numberOf(citation);
  const head = make(
    "p.cite-head",
    null,
    back
      ? make("a.number", { href: back, "aria-label": `Citation ${number}, back to the answer` }, number)
      : make("span.number", null, number),
    found ? make("code", { title: found.path ? plainly(found.path) : null }, inline(placeOf(found))) : null,
    make(
      "span.verdict",
      null,
      VERDICTS[citation.status] ?? citation.status,
      citation.nearest?.similarity ? `, ${percent(citation.nearest.similarity)} alike` : null,
    ),
    citation.matches > 1 ? make("span", null, plural(citation.matches, "place")) : null,
  );
  return make(
    `li.cite.is-${citation.status}`,
    { id: `${at}-${citation.id}`, tabindex: "-1" },
    head,
    passes
      ? null
      : make("pre.claimed", null, make("span.label", null, "the answer said"), foreign(citation.text ?? "")),
    citation.why ? make("p.why", null, inline(citation.why)) : null,
    found?.text == null ? null : passage(found),
    citation.text_omitted ? make("p.why", null, "The passage is not shown here: there are too many.") : null,
  );
}

function passage(row) {
  const [before, text, after] = dedented(row.prefix ?? "", row.text, row.suffix ?? "");
  const left = (row.text_chars ?? row.text.length) - row.text.length;
  return make(
    "pre",
    null,
    make("span.beside-text", null, foreign(before)),
    make("mark", null, foreign(text, { beyond: left })),
    make("span.beside-text", null, foreign(after)),
  );
}

/** A passage reads from the left edge: the indent that all of its lines have says nothing. */
function dedented(prefix, text, suffix) {
  const first = prefix.indexOf("\n"),
    last = suffix.lastIndexOf("\n");
  const before =
    first < 0
      ? prefix
      : prefix
          .slice(first + 1)
          .split("\n")
          .slice(-BEFORE_LINES - 1)
          .join("\n");
  const after = last < 0 ? suffix : suffix.slice(0, last).trimEnd();
  const lines = `${before}${text}${after}`
    .split("\n")
    .slice(first < 0 && prefix ? 1 : 0)
    .filter((line) => line.trim());
  const indent = Math.min(...lines.map((line) => line.search(/\S/)));
  if (!Number.isFinite(indent) || indent === 0) return [before, text, after];
  const strip = (part, isAtStart) =>
    part.replace(new RegExp(`${isAtStart ? "(^|\\n)" : "(\\n)"}[ \\t]{${indent}}`, "g"), "$1");
  const isLine = first >= 0 || !prefix;
  return [strip(before, isLine), strip(text, before ? before.endsWith("\n") : isLine), strip(after, false)];
}

/** One sentence on all of them. */
export function sumOf(citations, more = 0) {
  const good = citations.filter((one) => PASSES.has(one.status)).length;
  if (!citations.length) return "It cites nothing.";
  return `${good} of ${plural(citations.length, "citation")} verified against the sources’ own bytes.${more ? ` ${count(more)} further ones are not listed here.` : ""}`;
}
