// All cards, of which those near the window are in the document. Is: chunks of 16; one that is away from the window is a gap
// of its height, and what is read stays where it is. Is not: a choice of what is shown. Above: `views/steps.js`.
import { hasFocus, make } from "../ground/dom.js";
import { card } from "./cards.js";
import { inOrder } from "./record.js";

const CHUNK = 16; // drawn at once, which must not take a frame
const NEAR = "1200px 0px";
const CARD_PX = 180; // until one chunk was measured
const OUTLINED_PX = 34;

export class Feed {
  constructor(tools) {
    this.tools = tools;
    this.events = [];
    this.chunks = [];
    this.isOutlined = false;
    this.isWhole = false;
    this.element = make("div.feed", { role: "feed", "aria-label": "Steps", "aria-busy": "false" });
    this.near = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: NEAR });
  }

  /** Show these events and no others. */
  set(events) {
    this.near.disconnect();
    this.events = [...events];
    this.element.replaceChildren();
    this.chunks = [];
    this.#arrange(0);
  }

  /** Further ones, each in its place. */
  add(events) {
    let first = this.events.length;
    for (const event of events) {
      let at = this.events.length;
      while (at > 0 && inOrder(this.events[at - 1].id, event.id) > 0) at -= 1;
      this.events.splice(at, 0, event);
      first = Math.min(first, at);
    }
    if (events.length) this.#arrange(Math.floor(first / CHUNK));
  }

  /** One that is other than it was. */
  replace(event) {
    const at = this.events.findIndex((found) => found.id === event.id);
    if (at < 0) return this.add([event]);
    this.events[at] = event;
    return this.#arrange(Math.floor(at / CHUNK), true);
  }

  /** One that is no more to be shown. */
  remove(event) {
    const at = this.events.findIndex((found) => found.id === event.id);
    if (at < 0) return;
    this.events.splice(at, 1);
    this.#arrange(Math.floor(at / CHUNK), true);
  }

  outline(isOutlined) {
    const [at] = this.current;
    this.isOutlined = isOutlined;
    this.element.classList.toggle("is-outlined", isOutlined);
    this.average = null;
    for (const chunk of this.chunks) if (!chunk.isDrawn) this.#gap(chunk);
    if (at >= 0) this.show(at, { moves: hasFocus(this.element) });
  }

  /** Draw everything, for paper; `near` is looked after again when it is over. */
  drawAll(isWhole) {
    this.isWhole = isWhole;
    if (isWhole) for (const chunk of this.chunks) this.#draw(chunk);
    else this.#watchAgain();
  }

  /** Go to a card: at the top of the window, with the focus. */
  show(at, { moves = true } = {}) {
    if (!this.events[at]) return null;
    const chunk = Math.floor(at / CHUNK);
    for (const by of [chunk - 1, chunk + 1, chunk]) this.#draw(this.chunks[by]);
    const node = this.nodeOf(this.events[at]);
    node.scrollIntoView({ block: "start", behavior: "instant" });
    if (moves) node.focus({ preventScroll: true });
    return node;
  }

  nodeOf(event) {
    return document.getElementById(`e${event.id}`);
  }

  indexOf(event) {
    return this.events.findIndex((found) => found.id === event.id);
  }

  /** Where a person is: at the card with the focus, else at the first that is seen; [-1] before all. */
  get current() {
    const focused = document.activeElement?.closest?.(".step");
    const top = Number.parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
    const node =
      focused ??
      [...this.element.querySelectorAll(".step")].find((one) => one.getBoundingClientRect().bottom > top + 1);
    if (!node) return [-1, false];
    return [this.events.findIndex((event) => `e${event.id}` === node.id), Boolean(focused)];
  }

  /** Chunks from one on are made again: what stands in them has moved on by one. */
  #arrange(from, isChanged = false) {
    const wanted = Math.ceil(this.events.length / CHUNK);
    while (this.chunks.length > wanted) {
      const gone = this.chunks.pop();
      this.near.unobserve(gone);
      gone.remove();
    }
    while (this.chunks.length < wanted) {
      const chunk = make("div.chunk", null);
      Object.assign(chunk, { index: this.chunks.length, isDrawn: false });
      this.chunks.push(chunk);
      this.element.append(chunk);
      this.#gap(chunk);
      this.near.observe(chunk);
    }
    for (const chunk of this.chunks.slice(from)) {
      if (chunk.isDrawn || chunk.index === 0 || this.isWhole) this.#redraw(chunk, isChanged);
      else this.#gap(chunk);
    }
    for (const node of this.element.querySelectorAll(".step")) node.setAttribute("aria-setsize", this.events.length);
  }

  #of(chunk) {
    return this.events.slice(chunk.index * CHUNK, (chunk.index + 1) * CHUNK);
  }

  /** The cards of a chunk, those that are there already among them: they may have the focus, or texts that are open. */
  #redraw(chunk, isChanged) {
    const events = this.#of(chunk),
      was = new Map([...chunk.children].map((node) => [node.id, node]));
    const focused = document.activeElement?.id;
    const nodes = events.map((event, index) => {
      const at = chunk.index * CHUNK + index,
        node = was.get(`e${event.id}`);
      if (!node || (isChanged && node.event !== event)) return this.#card(event, at);
      node.setAttribute("aria-posinset", at + 1);
      return node;
    });
    chunk.isDrawn = true;
    chunk.style.minHeight = "";
    if (nodes.some((node, index) => chunk.children[index] !== node)) {
      const isFollowed = nodes.slice(0, chunk.children.length).every((node, index) => chunk.children[index] === node);
      if (isFollowed) chunk.append(...nodes.slice(chunk.children.length));
      else chunk.replaceChildren(...nodes);
    }
    while (chunk.children.length > nodes.length) chunk.lastElementChild.remove();
    if (focused && document.activeElement?.id !== focused)
      document.getElementById(focused)?.focus({ preventScroll: true });
  }

  #card(event, at) {
    const node = card(event, at, this.events.length, this.tools);
    node.event = event;
    return node;
  }

  #seen(entries) {
    if (this.isWhole) return;
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#draw(target);
      else this.#clear(target);
    }
  }

  #draw(chunk) {
    if (!chunk || chunk.isDrawn) return;
    const was = chunk.getBoundingClientRect();
    this.#redraw(chunk, false);
    const is = chunk.getBoundingClientRect();
    // One that ends above what is read pushes it away; the browser's own anchor is off, so that only we push back.
    if (was.bottom <= this.#readFrom() && is.height !== was.height)
      scrollBy({ top: is.height - was.height, behavior: "instant" });
    this.average ??= is.height / Math.max(1, chunk.childElementCount);
  }

  #readFrom() {
    return Math.max(1, Number.parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0);
  }

  #clear(chunk) {
    if (!chunk.isDrawn || chunk.index === 0 || hasFocus(chunk)) return;
    chunk.style.minHeight = `${chunk.getBoundingClientRect().height}px`;
    chunk.isDrawn = false;
    chunk.replaceChildren();
  }

  #gap(chunk) {
    const height = this.average ?? (this.isOutlined ? OUTLINED_PX : CARD_PX);
    chunk.style.minHeight = `${Math.round(height * this.#of(chunk).length)}px`;
  }

  #watchAgain() {
    this.near.disconnect();
    for (const chunk of this.chunks) this.near.observe(chunk);
  }
}
