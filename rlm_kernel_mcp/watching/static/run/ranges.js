// Ranges of characters, and bins of them. Is: unions and shares, linear in what they are given. Is not: anything of a context.
// Above: `run/map.js`, `run/lanes.js`, `run/record.js`.

/** Ranges in their order, of which none meets another that is less than `gap` away. */
export function union(ranges, gap = 0) {
  const out = [];
  for (const [from, to] of [...ranges].sort((one, other) => one[0] - other[0])) {
    const last = out.at(-1);
    if (last && from <= last[1] + gap) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  return out;
}

export const total = (ranges) => ranges.reduce((sum, [from, to]) => sum + to - from, 0);

/** Passes over each of a number of equal parts, a byte for each; null: not tracked. */
export const bins = (base64) =>
  base64 == null ? null : Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Bins of at least `least`, as stretches of neighbours: [from, to) in bins. */
export function runs(passes, least) {
  const out = [];
  for (let at = 0; at < passes.length; at += 1) {
    if (passes[at] < least) continue;
    if (out.at(-1)?.[1] === at) out.at(-1)[1] = at + 1;
    else out.push([at, at + 1]);
  }
  return out;
}

/** Places for labels of one width along a line, none over another and none beyond its end. */
export function apart(places, width, end) {
  const out = [];
  for (const place of places) out.push(Math.max(place, (out.at(-1) ?? -width) + width));
  for (let at = out.length - 1, most = end - width; at >= 0; at -= 1, most -= width) out[at] = Math.min(out[at], most);
  return out;
}
