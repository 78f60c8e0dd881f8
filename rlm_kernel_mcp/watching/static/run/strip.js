// The run at one glance: a bar a step, its height by time, its colour by what became of it. Is: as wide as its place,
// whatever the number: steps share a bar where there are more than fit. Is not: the list, which says the same in words, so
// that it is hidden from who cannot see it. Above: `views/steps.js`, `views/sessions.js`.
import { make } from "../ground/dom.js";
import { PAUSE_MS } from "../ground/words.js";
import { isWrong, kindOf } from "./record.js";

const BARS = 300;
const LEAST_BARS = 60; // of a short run, so that a bar looks as in a long one
const HIGH = 34;
const LEAST = 5;

/** `pause`: milliseconds between a step and the one before, drawn as a hairline between their bars. */
export function strip(events, jump, pause = () => 0) {
  const shown = events.filter((event) => event.type !== "opened");
  const each = Math.ceil(shown.length / BARS) || 1;
  const bars = [];
  for (let at = 0; at < shown.length; at += each) bars.push(shown.slice(at, at + each));
  return make(
    "svg.strip",
    {
      viewBox: `0 0 ${Math.max(LEAST_BARS, bars.length) * 10} ${HIGH}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      onclick: (click) => click.target.event && jump(click.target.event),
    },
    bars.map((events_, at) => [gap(Math.max(...events_.map(pause)), at), bar(events_, at)]),
  );
}

/** The agent's own time, on the scale of the bars. */
function gap(ms, at) {
  if (ms < PAUSE_MS) return null;
  const high = heightOf(ms);
  return make("rect.is-pause", { x: at * 10 - 0.6, width: 1.2, y: HIGH - high, height: high });
}

const heightOf = (ms) => LEAST + Math.min(HIGH - LEAST - 2, Math.log10(1 + ms) * 6.2);

function bar(events, at) {
  const event = events.find(isWrong) ?? events.find((one) => kindOf(one) !== "ok") ?? events[0];
  const high = heightOf(Math.max(...events.map((one) => one.ms ?? 0)));
  const rect = make(`rect.is-${kindOf(event)}`, { x: at * 10 + 1, width: 8, y: HIGH - high, height: high });
  rect.event = event;
  return rect;
}

const LETTERS = { o: "ok", e: "bad", t: "bad", x: "bad", k: "kill", s: "calls", h: "person", f: "final" };
const BEAT = 8;
const BEAT_HIGH = { ok: 6, person: 6, bad: 14, kill: 14, calls: 10, final: 10 };

/** The same of a session in a list, from a letter a step: a path a kind, since a thousand of these are on a page. */
export function beats(letters) {
  const paths = new Map();
  [...letters].forEach((letter, at) => {
    const kind = LETTERS[letter] ?? "ok",
      high = BEAT_HIGH[kind];
    paths.set(kind, `${paths.get(kind) ?? ""}M${at * BEAT} ${14 - high}h${BEAT - 1}v${high}h-${BEAT - 1}z`);
  });
  const wide = Math.max(1, letters.length) * BEAT;
  return make(
    "svg.beats",
    { viewBox: `0 0 ${wide} 14`, preserveAspectRatio: "none", "aria-hidden": "true", "--wide": `${wide}px` },
    [...paths].map(([kind, d]) => make(`path.is-${kind}`, { d })),
  );
}
