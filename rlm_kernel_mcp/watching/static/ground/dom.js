// Elements. Is: the one place that makes them. Is not: a parser: a child is an element or becomes a text node, so that no
// text is ever read as HTML (Trusted Types would refuse it). Above: everything that draws.

const SVG = new Set(["svg", "rect", "path", "g"]);
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element: `make("p.note", {id}, children)`. `on…` is a listener, `--…` a custom property, null leaves out. */
export function make(spec, properties, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = SVG.has(tag) ? document.createElementNS(SVG_NAMESPACE, tag) : document.createElement(tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--"))
      node.style.setProperty(name, value); // a style attribute would be inline style
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

/** Put new children in the place of all that an element has. */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
  return node;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child != null && child !== false);
}

/** A table of rows that are made, under its headings. */
export const table = (spec, headings, rows) =>
  make(
    spec,
    null,
    make(
      "thead",
      null,
      make(
        "tr",
        null,
        headings.map((word) => make("th", { scope: "col" }, word)),
      ),
    ),
    make("tbody", null, rows),
  );

/** Where a person is in the page, which drawing a part again must not move. */
export const hasFocus = (node) => node.contains(document.activeElement);

export const calmly = (node) => node?.scrollIntoView({ block: "center", behavior: "instant" });
