// How near a session is to each of its limits. Is: a bar and the numbers in words. Is not: a limit. Above: `views/session.js`.
import { make } from "../ground/dom.js";
import { LIMITS } from "../ground/words.js";

const HIGH = 0.8;
const SHOWN = ["steps", "runtime_ms", "chars", "subcalls"];

const shareOf = (used, limit) => (limit > 0 ? Math.min(1, used / limit) : 0);

/** Which limit is used up, if one is. */
export const usedUp = (used, limits) =>
  SHOWN.find((name) => limits[name] > 0 && (used[name] ?? 0) >= limits[name]) ?? null;

/** `jump` goes to the step that has cost most. `now`: the running step's time, which the sums do not have yet. */
export function meters(record, now, jump) {
  const { limits } = record.head,
    running = record.running;
  const used = { ...record.used };
  if (running) {
    used.steps = Math.max(used.steps ?? 0, running.step);
    used.runtime_ms = (used.runtime_ms ?? 0) + Math.max(0, now - running.since);
  }
  const notes = {
    chars: (share) => costliest(record, used, share, jump),
    subcalls: () => (used.subcalls ? null : "none made"),
  };
  return SHOWN.filter((name) => limits[name] > 0).map((name) =>
    meter(LIMITS[name], used[name] ?? 0, limits[name], notes[name]),
  );
}

function meter(of, used, limit, noteOf) {
  const { label, show } = of,
    share = shareOf(used, limit),
    level = share >= 1 ? "full" : share > HIGH ? "high" : "fine";
  const said = `${show(used)} of ${show(limit)}`;
  return make(
    `div.meter.is-${level}`,
    null,
    make("span.meter-label", null, label),
    make("span.meter-value", null, make("b", null, show(used)), ` of ${show(limit)}`),
    make(
      "div.bar",
      {
        role: "meter",
        "aria-label": label,
        "aria-valuemin": 0,
        "aria-valuemax": limit,
        "aria-valuenow": Math.min(used, limit),
        "aria-valuetext": said,
        "--share": share,
      },
      make("i", null),
    ),
    make("span.meter-note", null, noteOf?.(share) ?? left(share, used, limit, of)),
  );
}

const left = (share, used, limit, { show, rest = show }) => (share >= 1 ? "used up" : `${rest(limit - used)} left`);

function costliest(record, used, share, jump) {
  const most = record.costliest;
  if (!most) return null;
  const go = (click) => {
    click.preventDefault();
    jump(most);
  };
  return [
    `${left(share, used.chars, record.head.limits.chars, LIMITS.chars)}; `,
    make("a", { href: `#e${most.id}`, onclick: go }, `most: step ${most.step}`),
  ];
}

/** The same in a list, where there is room for a word. */
export function small(used, limits) {
  return make(
    "span.smalls",
    null,
    ["steps", "runtime_ms", "chars"]
      .filter((name) => limits?.[name])
      .map((name) => {
        const share = shareOf(used?.[name] ?? 0, limits[name]),
          { label, show } = LIMITS[name];
        const title = `${show(used?.[name] ?? 0)} of ${show(limits[name])}`;
        return make(
          `span.small-meter${share >= 1 ? ".is-full" : ""}`,
          { "--share": share, title },
          make("i", { "aria-hidden": "true" }),
          make("span", null, label.toLowerCase(), share >= 1 ? make("span.visually-hidden", null, " used up") : null),
        );
      }),
  );
}
