// The steps of a session with their tools: the strip, what is shown of them, find, outline, follow. Is: the list and how a
// person moves in it. Is not: a card. Above: `views/session.js`. Below: `run/feed.js`, `run/strip.js`, `views/find.js`.
import { fill, hasFocus, make } from "../ground/dom.js";
import { count } from "../ground/words.js";
import { Feed } from "../run/feed.js";
import { CHOICES, isWrong } from "../run/record.js";
import { strip } from "../run/strip.js";
import { Find } from "./find.js";

const ONE_BY_ONE = 40; // more at once are put in order anew

export class Steps {
  constructor(record, tools, { showKeys }) {
    this.record = record;
    this.choice = "all";
    this.isFollowing = false;
    this.feed = new Feed(tools);
    this.find = new Find({
      events: () => this.feed.events,
      go: (event, how) => this.feed.show(this.feed.indexOf(event), how),
    });
    this.strip = make("div.strip-place", null);
    this.choices = make("div.choices", { role: "group", "aria-label": "Show" });
    this.outlined = toggle("Outline", () => this.outline());
    this.followed = toggle("Follow", () => this.follow());
    const keys = make("button.small", { type: "button", "aria-label": "Keys", onclick: showKeys }, "?");
    this.tools = make(
      "div.tools",
      null,
      this.strip,
      make("div.tool-row", null, this.choices, this.find.element, this.outlined, this.followed, keys),
    );
    this.element = make(
      "section.run",
      { "aria-labelledby": "steps-title" },
      make("h2.visually-hidden", { id: "steps-title" }, "Steps"),
      this.tools,
      this.feed.element,
    );
    this.buttons = new Map(Object.entries(CHOICES).map(([name, { label }]) => [name, this.#button(name, label)]));
    fill(
      this.choices,
      [...this.buttons.values()].map(({ element }) => element),
    );
  }

  /** What has come since the last time: `{event, isNew}`. */
  draw(came) {
    const { has } = CHOICES[this.choice],
      fresh = came.filter((one) => one.isNew && has(one.event));
    if (fresh.length > ONE_BY_ONE && !hasFocus(this.feed.element) && !this.feed.events.length) this.#set();
    else {
      this.feed.add(fresh.map((one) => one.event));
      for (const { event } of came.filter((one) => !one.isNew)) {
        if (has(event)) this.feed.replace(event);
        else this.feed.remove(event);
      }
    }
    for (const [name, { element, counted }] of this.buttons) {
      element.hidden = name !== "all" && name !== this.choice && this.record.counts[name] === 0;
      element.setAttribute("aria-pressed", String(name === this.choice));
      counted.textContent = count(this.record.counts[name]);
    }
    if (came.length)
      fill(
        this.strip,
        strip(
          this.record.events,
          (event) => this.jump(event),
          (event) => this.record.pauseBefore(event),
        ),
      );
    if (this.isFollowing && fresh.length) this.feed.show(this.feed.events.length - 1, { moves: false });
  }

  choose(name) {
    this.choice = name;
    this.#set();
    this.find.clear();
    this.draw([]);
  }

  /** Go to an event, whatever is chosen to be shown. */
  jump(event) {
    if (this.feed.indexOf(event) < 0) this.choose("all");
    return this.feed.show(this.feed.indexOf(event));
  }

  move(by) {
    const [at, hasIt] = this.feed.current;
    this.feed.show(Math.max(0, Math.min(this.feed.events.length - 1, hasIt ? at + by : Math.max(at, 0))));
  }

  /** The next thing that went wrong, after the last the first. */
  nextWrong() {
    const { events } = this.feed,
      [at, hasIt] = this.feed.current,
      from = hasIt ? at + 1 : Math.max(at, 0);
    for (let step = 0; step < events.length; step += 1) {
      const place = (from + step) % events.length;
      if (isWrong(events[place])) return this.feed.show(place);
    }
    return null;
  }

  outline() {
    this.feed.outline(!this.feed.isOutlined);
    this.outlined.setAttribute("aria-pressed", String(this.feed.isOutlined));
  }

  follow() {
    this.isFollowing = !this.isFollowing;
    this.followed.setAttribute("aria-pressed", String(this.isFollowing));
    if (this.isFollowing) this.feed.show(this.feed.events.length - 1, { moves: false });
  }

  #set() {
    this.feed.set(this.record.events.filter(CHOICES[this.choice].has));
  }

  #button(name, label) {
    const counted = make("span", null);
    return {
      counted,
      element: make("button", { type: "button", onclick: () => this.choose(name) }, `${label} `, counted),
    };
  }
}

const toggle = (words, onclick) => make("button.small", { type: "button", "aria-pressed": "false", onclick }, words);
