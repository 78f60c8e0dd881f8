// One event as a card. Is: a heading, facts, and rows with labels; what is not ok alone has a colour. Is not: the feed that
// they stand in (`run/feed.js`). Above: that. Below: `run/texts.js`, `run/citations.js`.
import { make } from "../ground/dom.js";
import { foreign, inline, python } from "../ground/foreign.js";
import { clock, count, LIMITS, OUTCOMES, PAUSE_MS, percent, plural, roughly, took } from "../ground/words.js";
import { note } from "./citations.js";
import { fateOf, kindOf, rangesOf, startOf } from "./record.js";
import { clipped } from "./texts.js";

const TITLES = {
  opened: "Opened",
  context_added: "Context added",
  interrupt: "Interrupt",
  restore: "Kernel replaced",
  stop: "Stopped by a limit",
  refused: "Refused",
  subcalls: "Sub-calls",
  final: "Final answer",
};
const BOUND = 8;
const FATES = 24;
const NO_PICTURE = "it is not drawn here, as it may have no end";
const LIMIT_OF = { max_steps: "steps", timeout: "runtime_ms", budget_exceeded: "chars" };

export const titleOf = (event) => TITLES[event.type] ?? `Step ${event.step}`;

/** Which of `LIMITS` a stop or a refused call tells of. */
export const limitOf = (event) => LIMIT_OF[event?.limit] ?? null;

export function outcomeOf(event) {
  if (event.status === "error" && event.error?.ename) return event.error.ename;
  return OUTCOMES[event.status] ?? event.status;
}

export const deliveredChars = (event) => rangesOf(event.delivered).reduce((sum, [, from, to]) => sum + to - from, 0);

/** `tools`: what a card asks of its page: `read` a piece, an `image`'s address, and which texts are `opened`. */
export function card(event, at, total, tools) {
  const kind = kindOf(event),
    id = `e${event.id}`;
  return make(
    `article.step.is-${kind}.type-${event.type}`,
    { id, tabindex: "-1", "aria-posinset": at + 1, "aria-setsize": total, "aria-labelledby": `${id}-t` },
    make(
      "header",
      null,
      make("h3", { id: `${id}-t` }, titleOf(event)),
      make("p.one", null, inline(event.type === "step" ? firstLine(event.code) : event.summary)),
      make("p.facts", null, facts(event, kind, tools.pause(event))),
    ),
    make("div.body", null, body(event, tools)),
  );
}

const firstLine = (code) =>
  startOf(code)
    .split("\n")
    .find((line) => line.trim()) ?? "";

function facts(event, kind, pauseMs) {
  const isStep = event.type === "step",
    delivered = deliveredChars(event);
  const share = typeof event.searched === "number" ? event.searched : event.searched?.share;
  return [
    event.source === "console" ? make("span.tag.person", null, "a person’s cell") : null,
    isStep && (event.source !== "console" || event.status !== "ok")
      ? make(`span.tag.${kind}`, null, inline(outcomeOf(event)))
      : null,
    event.ms || isStep ? make("span", null, took(event.ms ?? 0)) : null,
    pauseMs >= PAUSE_MS
      ? make("span", { title: "the agent’s own time" }, `${roughly(pauseMs)} after the step before`)
      : null,
    Object.entries(event.functions ?? {}).map(([name, times]) =>
      make("span", { title: "how often its code called it, by the kernel’s word" }, inline(name), ` ${count(times)}`),
    ),
    event.cost
      ? make(
          "span",
          { title: "characters of code and output that were charged to the budget" },
          `${count(event.cost)} chars`,
        )
      : null,
    share == null ? null : make("span.searched", { title: "by the kernel’s word" }, `searched ${percent(share)}`),
    delivered ? make("span.delivered", null, `delivered ${count(delivered)}`) : null,
    make("time", { datetime: event.ts }, clock(event.ts)),
  ];
}

function body(event, tools) {
  switch (event.type) {
    case "interrupt":
      return [];
    case "final":
      return make(
        "p.plain",
        null,
        `An answer of ${count(event.answer?.chars)} characters with ${plural(event.citations?.length ?? 0, "citation")}. `,
        make("a", { href: "#answer" }, "Read it above"),
      );
    case "restore":
      return [plain(event), fates(event)];
    case "stop":
      return make(
        "p.plain",
        null,
        `${sentence(LIMITS[limitOf(event)]?.all(tools.limit(limitOf(event))) ?? "a limit")} used. No further step runs.`,
      );
    case "refused":
      return [
        event.note ? make("p.note", null, foreign(event.note)) : plain(event),
        textOf(event, tools)("code", "code", 12, python),
        event.citations?.length
          ? make(
              "ol.notes",
              null,
              event.citations.map((one) => note(one, { at: `e${event.id}` })),
            )
          : null,
      ];
    case "subcalls":
      return [plain(event), make("p.plain", null, make("a", { href: "#box-calls" }, "See the calls"))];
    case "step":
      return step(event, tools);
    default:
      return plain(event);
  }
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const plain = (event) => make("p.plain", null, foreign(event.summary ?? ""));

/** Makes a row of one of an event's texts, where it has that. */
const textOf =
  (event, tools) =>
  (field, label, lines, paint = foreign) =>
    startOf(event[field])
      ? clipped(event[field], {
          label,
          lines,
          paint,
          key: `${event.id}/${field}`,
          opened: tools.opened,
          read: (from) => tools.read(event, field, from),
        })
      : null;

function step(event, tools) {
  const text = textOf(event, tools);
  return [
    text("code", "code", 12, python),
    text("stdout", "printed", 8),
    text("stderr", "stderr", 6),
    text("result", "result", 6),
    failure(event, tools),
    pictures(event, tools),
    event.note ? make("p.note", null, inline(event.note)) : null,
    bound(event),
  ];
}

function failure(event, tools) {
  if (!event.error) return null;
  const { ename = "", evalue = "", traceback } = event.error;
  const words = [ename, evalue].filter(Boolean).join(": ");
  return clipped(startOf(traceback) ? traceback : words, {
    label: "error",
    lines: 9,
    key: `${event.id}/error`,
    opened: tools.opened,
    read: (from) => tools.read(event, "traceback", from),
  });
}

/** What the step displayed: pictures as such, all else as the text that it is. */
function pictures(event, tools) {
  return (event.images ?? []).map((image, number) => {
    const address = tools.image(image),
      field = `shown-${number}`;
    const source = (text, why) => {
      const { opened } = tools,
        read = (from) => tools.read(event, field, from);
      const box = clipped(text, { label: "shown", lines: 8, key: `${event.id}/${field}`, opened, read });
      box.append(inWords(image, why));
      return box;
    };
    const box = make("div.text", null, make("span.label", null, "shown"));
    if (image.source) return source(image.source, image.why);
    if (!address) {
      if (image.sha && !image.why) return source(notHere(image), null);
      box.append(inWords(image, image.why));
      return box;
    }
    const onerror = () => box.replaceWith(source(notHere(image), NO_PICTURE)); // the server has its source, or nothing
    box.append(make("img.picture", { src: address, alt: `picture of step ${event.step}`, onerror }));
    return box;
  });
}

/** A source that a person has to ask for. */
const notHere = ({ bytes }) => ({ text: "", chars: bytes, lines: 0, cut: bytes });

const inWords = ({ mime, bytes }, why) =>
  make("p.bound", null, inline(mime), ` of ${count(bytes)} bytes`, why ? [": ", inline(why)] : null);

function bound({ changed, more_changed: more = 0 }) {
  if (!changed?.length) return null;
  const left = changed.length + more - BOUND;
  return make(
    "div.text",
    null,
    make("span.label", null, "bound"),
    make(
      "p.bound",
      null,
      changed
        .slice(0, BOUND)
        .map((one) =>
          make(
            "span.name",
            null,
            make("code", null, inline(one.name)),
            " ",
            inline(one.type),
            one.size == null ? null : ` ${count(one.size)}`,
          ),
        ),
      left > 0 ? make("span.name", null, `and ${count(left)} more`) : null,
    ),
  );
}

/** What became of the names of a kernel that was replaced. */
function fates(event) {
  const lost = event.lost ?? [],
    gone = new Set(lost.map((one) => one.name));
  const rows = [
    [
      "Back",
      (event.restored ?? []).filter((name) => !gone.has(name)).map((name) => ({ name })),
      null,
      event.more_restored,
    ],
    [
      "Older than the kill",
      lost.filter((one) => fateOf(one) === "older"),
      "as they were after an earlier step; later changes are lost",
    ],
    ["Gone", lost.filter((one) => fateOf(one) === "lost"), "not kept in time, or cannot be kept", event.more_lost],
  ];
  return make(
    "dl.fates",
    null,
    rows
      .filter(([, names]) => names.length)
      .map(([word, names, why, more = 0]) => {
        const left = names.length - FATES + more;
        return [
          make("dt", null, `${word} ${count(names.length + more)}`, why ? make("small", null, why) : null),
          make(
            "dd",
            null,
            names
              .slice(0, FATES)
              .map((one) =>
                make(
                  "span.fate",
                  null,
                  make("code", null, inline(one.name)),
                  one.why && fateOf(one) === "lost" ? make("small", null, inline(one.why)) : null,
                ),
              ),
            left > 0 ? make("span", null, `and ${count(left)} more`) : null,
          ),
        ];
      }),
  );
}
