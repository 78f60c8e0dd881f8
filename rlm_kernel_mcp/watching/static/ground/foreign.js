// Text of others, which may be an adversary's. Is: text nodes, in which whatever acts, reorders or hides is named in a
// box. Is not: a renderer: no ANSI, no markdown, no links. Above: all that shows what a kernel, an agent or a file says.
import { make } from "./dom.js";
import { count } from "./words.js";

const LINE_CHARS = 600;
const OPENED_LINE_CHARS = 16_000;
const SLACK_CHARS = 200; // a line is not cut for a few
const MARKED_CHARS = 6_000; // of code, in colours: quotes that never end cost their square
const MARKS = 4; // on one letter, from which on they are a number
const TITLE_CHARS = 200;

// Controls, separators, bidirectional marks, embeddings, overrides and isolates, tags, interlinear marks, lone surrogates,
// and letters that are drawn as nothing. A joiner or a selector beside a letter, a mark or an emoji spells a word there.
// The page of a trace (`server/offered/session_view.html`) has the same lines.
const SPELLS = "[\\p{L}\\p{M}\\p{N}\\p{Extended_Pictographic}\\u{1f3fb}-\\u{1f3ff}]";
const HIDES = [
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b\\u200e\\u200f]",
  "[\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb\\u{e0000}-\\u{e007f}]",
  `(?<!${SPELLS}[\\ufe0f]?)[\\u200c\\u200d]|[\\u200c\\u200d](?!${SPELLS})`,
  "(?<![\\p{L}\\p{M}\\p{N}\\p{S}\\p{P}])[\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]",
  "\\p{Surrogate}",
].join("|");
const ODD = new RegExp(`${HIDES}|\\p{M}{${MARKS},}`, "gu");

const PLAIN = /^[\t\x20-\x7e]*$/; // most lines: a hundredth of the time

const MANY_MARKS = new RegExp(`^\\p{M}{${MARKS},}$`, "u");
const CONTROLS = // by name: few fonts have their pictures
  "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US";

function named(odd) {
  if (MANY_MARKS.test(odd)) return `+${count([...odd].length)} marks`;
  const code = odd.codePointAt(0);
  if (code < 0x20) return CONTROLS.split(" ")[code];
  return code === 0x7f ? "DEL" : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** The parts of one line, with what is odd in it in boxes. */
function parts(line) {
  if (PLAIN.test(line)) return [line];
  const out = [];
  let at = 0;
  for (const odd of line.matchAll(ODD)) {
    out.push(line.slice(at, odd.index), make("span.odd", null, named(odd[0])));
    at = odd.index + odd[0].length;
  }
  out.push(line.slice(at));
  return out;
}

/** A foreign text as children of an element. `beyond`: characters of its last line that are not in it. */
export function foreign(text, { beyond = 0, isOpened = false } = {}) {
  const most = isOpened ? OPENED_LINE_CHARS : LINE_CHARS;
  const lines = String(text ?? "")
    .replaceAll("\r\n", "\n")
    .split("\n");
  const out = lines.flatMap((line, index) => {
    const shown = line.length > most + SLACK_CHARS ? wholeCharacters(line.slice(0, most)) : line;
    const left = line.length - shown.length + (index === lines.length - 1 ? beyond : 0);
    const rest = isOpened ? "characters of this line are left out here" : "more characters in this line";
    const cut = left > 0 ? [make("span.cut", null, ` … ${count(left)} ${rest}`)] : [];
    return [...(index ? ["\n"] : []), ...parts(shown), ...cut];
  });
  return joined(out);
}

/** Strings that follow each other as one: each becomes a node. */
function joined(parts) {
  const out = [];
  for (const part of parts) {
    if (typeof part === "string" && typeof out.at(-1) === "string") out[out.length - 1] += part;
    else if (part !== "") out.push(part);
  }
  return out;
}

/** Foreign text in one line: a name, a question, a summary. */
export const inline = (text) => foreign(String(text ?? "").replace(/\s*\n\s*/g, " "));

/** Foreign text where there are no elements: the window's title. */
export const plainly = (text) =>
  String(text ?? "")
    .replace(/\s+/g, " ")
    .slice(0, TITLE_CHARS)
    .replace(ODD, named);

/** Without half of a surrogate pair at its end, which would be named as if it had stood there. */
function wholeCharacters(text) {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last < 0xdc00 ? text.slice(0, -1) : text;
}

const PYTHON = new RegExp(
  [
    "(#[^\\n]*)",
    "((?:\\b[rbfuRBFU]{1,2})?(?:\"\"\"[^]*?\"\"\"|'''[^]*?'''|\"(?:\\\\.|[^\"\\\\\\n])*\"|'(?:\\\\.|[^'\\\\\\n])*'))",
    "\\b(and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|" +
      "lambda|None|nonlocal|not|or|pass|raise|return|True|False|try|while|with|yield)\\b",
  ].join("|"),
  "g",
);

/** Python code: foreign text with its comments, strings and keywords told apart. */
export function python(code, options = {}) {
  if (code.split("\n").some((line) => line.length > LINE_CHARS)) return foreign(code, options); // cut, and so not read
  const out = [];
  let at = 0;
  for (const found of code.slice(0, MARKED_CHARS).matchAll(PYTHON)) {
    const kind = found[1] ? "span.comment" : found[2] ? "span.string" : "span.keyword";
    out.push(...foreign(code.slice(at, found.index), options), make(kind, null, foreign(found[0], options)));
    at = found.index + found[0].length;
  }
  return joined([...out, ...foreign(code.slice(at), options)]);
}
