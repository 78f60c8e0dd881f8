// Numbers, units and states in words. Is: strings alone. Is not: anything of the document. Above: everything.

const whole = new Intl.NumberFormat("en");
const FIXED = "\u00a0"; // a number and its unit stay in one line
const UNITS = [
  [1e9, 1e9, "G"],
  [1e6, 1e6, "M"],
  [1e4, 1e3, "k"],
];

export const count = (value) => whole.format(value ?? 0);

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** A number where there is little room: 31 k, 7.9 M. */
export function short(value) {
  for (const [from, size, unit] of UNITS) {
    if (value >= from) return `${(value / size).toFixed(value < 10 * size ? 1 : 0)}${FIXED}${unit}`;
  }
  return count(value);
}

/** How long something took. */
export function took(ms) {
  if (ms < 1_000) return `${Math.round(ms)}${FIXED}ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)}${FIXED}s`;
  return minutes(ms);
}

/** The same where a glance is enough, and where digits that change would disturb. */
export const roughly = (ms) => (ms < 60_000 ? `${Math.floor(ms / 1_000)}${FIXED}s` : minutes(ms));

function minutes(ms) {
  const seconds = Math.floor(ms / 1_000);
  const rest = seconds % 60 ? `${FIXED}${seconds % 60}${FIXED}s` : "";
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}${FIXED}min${rest}`;
  return `${Math.floor(seconds / 3_600)}${FIXED}h${FIXED}${Math.floor((seconds % 3_600) / 60)}${FIXED}min`;
}

/** How long ago something was, in one unit. */
export function ago(ms) {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 60) return "now";
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}${FIXED}min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}${FIXED}h`;
  return `${Math.floor(seconds / 86_400)}${FIXED}d`;
}

/** The time of day, as this computer's clock has it. */
export function clock(ts) {
  const date = new Date(ts ?? "");
  return Number.isNaN(date.getTime()) ? "" : date.toTimeString().slice(0, 8);
}

export function percent(share) {
  if (!(share > 0)) return `0${FIXED}%`;
  if (share >= 1) return `100${FIXED}%`;
  if (share > 0.99) return `99${FIXED}%`;
  if (share < 0.0001) return `<${FIXED}0.01${FIXED}%`;
  return `${(share * 100).toFixed(share < 0.1 ? 2 : 0)}${FIXED}%`;
}

export const STATES = {
  running: "Running",
  idle: "Waiting for the agent",
  stopped: "Stopped by a limit",
  finalized: "Answered",
  dead: "Kernel gone",
  ended: "Ended",
};
export const LIVE = new Set(["running", "idle"]);

export const PAUSE_MS = 1_000; // from which on it is said how long it was between two steps

export const OUTCOMES = {
  ok: "ok",
  error: "raised",
  timeout: "ran out of time",
  interrupted: "interrupted",
  kernel_died: "kernel died",
  running: "running",
  stopped: "refused: limit reached",
  unknown: "end unknown",
};

export const VERDICTS = {
  verified: "verified",
  whitespace: "verified, white space differs",
  near: "not found; nearest shown",
  missing: "not found",
  changed: "the source has changed",
};
export const PASSES = new Set(["verified", "whitespace"]);

/** What each limit is of, and how its numbers are said. */
export const LIMITS = {
  steps: { label: "Steps", show: count, all: (limit) => `all ${plural(limit, "step")}` },
  runtime_ms: {
    label: "Runtime",
    show: roughly,
    rest: (ms) => roughly(Math.ceil(ms / 1_000) * 1_000), // with what is used it makes the limit
    all: (limit) => `all ${roughly(limit)} of runtime`,
  },
  chars: { label: "Characters", show: short, all: (limit) => `all ${count(limit)} characters` },
  subcalls: { label: "Sub-calls", show: count, all: (limit) => `all ${plural(limit, "sub-call")}` },
  subcall_tokens: { label: "Sub-call tokens", show: short, all: (limit) => `all ${count(limit)} tokens of sub-calls` },
};
