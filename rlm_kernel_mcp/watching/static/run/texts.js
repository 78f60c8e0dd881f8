// A text in a card: its first lines, and more of it on demand. Is: one label and one `pre`, without scroll bars of its own.
// Is not: all of a long text: the stream has its ends alone, and pieces come from the server. Above: `run/cards.js`.
import { make } from "../ground/dom.js";
import { foreign } from "../ground/foreign.js";
import { count, plural } from "../ground/words.js";

const SLACK_LINES = 2; // a text is not clipped for a few

/** What stands between the head and the tail of a text that is cut, if that is all one line. */
function restOfLine(text, head) {
  if (!text.cut) return 0;
  const breaks = (part) => part.split("\n").length - 1;
  if ((text.lines ?? 0) - 1 > breaks(head) + breaks(text.tail ?? "")) return 0;
  return text.cut + Math.max(0, `${text.tail ?? ""}\n`.indexOf("\n"));
}

/**
 * A text with its label. `given`: a string, or a `Text` of the stream. `lines`: how many are shown at first. `read`: gives
 * a piece of a text that is cut, from a place on. `opened`: the keys of the texts that a person has opened.
 */
export function clipped(given, { label, lines, paint = foreign, read, opened = new Set(), key = "" }) {
  const text = typeof given === "string" ? { text: given, chars: given.length } : given;
  const whole = text.cut ? text.text : text.text.replace(/\n$/, "");
  const rows = whole.split("\n");
  const pre = make("pre", null);
  const box = make(`div.text.is-${label}`, null, make("span.label", null, label), pre);
  if (rows.length <= lines + SLACK_LINES && !text.cut) {
    pre.replaceChildren(...paint(whole));
    return box;
  }
  const head = rows.slice(0, lines).join("\n");
  const beyond = rows.length <= lines ? restOfLine(text, whole) : 0;
  const left = (text.cut ? (text.lines ?? 0) : rows.length) - Math.min(lines, rows.length);
  const words = left > 0 ? `Show ${plural(left, "more line")}` : "Show all";
  const closed = text.cut ? `${words} · ${count(text.chars)} characters` : words;
  const button = make("button.more", { type: "button", "aria-expanded": "false" });
  const pieces = text.cut && read ? new Pieces(pre, text, read) : null;
  const show = (isOpen) => {
    button.textContent = isOpen ? "Show less" : closed;
    button.setAttribute("aria-expanded", String(isOpen));
    pieces?.leave();
    if (isOpen && pieces) pieces.begin();
    else pre.replaceChildren(...(isOpen ? paint(whole, { isOpened: true }) : paint(head, { beyond })));
    if (isOpen && !pieces) opened.add(key);
    else opened.delete(key);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-expanded") === "false"));
  show(opened.has(key));
  box.append(button);
  if (pieces) box.append(pieces.button);
  return box;
}

/** A text that comes from the server piece by piece, each as a person asks for it. */
class Pieces {
  constructor(pre, text, read) {
    Object.assign(this, { pre, text, read, turn: 0 });
    this.button = make("button.more", { type: "button", hidden: true, onclick: () => this.#next() });
  }

  begin() {
    this.from = 0;
    this.pre.replaceChildren();
    this.#next();
  }

  /** What is still on its way is not wanted any more. */
  leave() {
    this.turn += 1;
    this.button.hidden = true;
  }

  async #next() {
    const { turn, from } = this;
    this.button.disabled = true;
    const got = await this.read(from).catch((error) => ({ error }));
    if (turn !== this.turn) return;
    this.button.disabled = false;
    if (got.error) {
      this.button.textContent = `It could not be read (${got.error.message}); try again`;
      this.button.hidden = false;
      return;
    }
    this.pre.append(...foreign(got.text, { isOpened: true }));
    this.from = got.next;
    this.button.textContent = `Show more · ${count(this.text.chars - (got.next ?? this.text.chars))} characters follow`;
    this.button.hidden = got.next == null;
  }
}
