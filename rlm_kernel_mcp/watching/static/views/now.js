// The slot: what matters now. Is: one place with one meaning: the running step, the agent that thinks, a limit that was
// reached, a kernel that is gone, or the answer with what it rests on. Is not: a step's card. Above: `views/session.js`.
import { $, fill, make } from "../ground/dom.js";
import { foreign, python } from "../ground/foreign.js";
import { count, LIMITS, plural } from "../ground/words.js";
import { limitOf } from "../run/cards.js";
import { note, prose, sumOf } from "../run/citations.js";
import { endOf, startOf } from "../run/record.js";
import { usedUp } from "./meters.js";

const LINES = 11;
const LAST_CHARS = 900;

export class Now {
  constructor(record, { read }) {
    Object.assign(this, { record, read });
    this.element = make("div.slot", null);
    this.shown = null;
  }

  /** Draw it, if it is other than what is shown: it may have the focus, or a person's selection. */
  draw() {
    const { record } = this;
    const [state, drawn] = this.#state();
    if (state !== this.shown) {
      this.shown = state;
      fill(this.element, drawn());
      this.element.classList.toggle("has-answer", record.final !== null);
    }
    if (record.running && record.final === null) this.#print();
  }

  #state() {
    const { record } = this,
      { final, running, status } = record,
      last = record.lastStep();
    if (final) return [`final ${final.id}`, () => this.#answer(final)];
    if (running) return [`running ${running.step}`, () => this.#running(running)];
    if (status === "stopped") return ["stopped", () => this.#stopped(last)];
    if (status === "dead") return ["dead", () => this.#dead()];
    return [`idle ${status} ${last?.id}`, () => this.#thinking(last, status)];
  }

  #running(running) {
    return make(
      "section.now",
      { "aria-labelledby": "now-title" },
      make("h2", { id: "now-title" }, `Step ${running.step}, running`),
      make("pre.now-code", null, python(running.code ?? "")),
      make(
        "div.now-printed",
        null,
        make("span.label", null, "printed so far"),
        make("pre.now-out", { "aria-live": "off" }),
      ),
    );
  }

  #print() {
    const { out, skipped } = this.record.running,
      pre = $(".now-out", this.element);
    if (!pre) return;
    const lines = out.replace(/\n$/, "").split("\n").slice(-LINES);
    fill(pre, foreign(lines.join("\n")));
    fill(
      $(".now-printed .label", this.element),
      out ? "printed so far" : "nothing printed yet",
      skipped ? `; ${count(skipped)} characters came too fast to be shown here` : null,
    );
  }

  #thinking(last, status) {
    if (!last)
      return make(
        "section.now.is-idle",
        { "aria-labelledby": "now-title" },
        make("h2", { id: "now-title" }, "No step yet"),
      );
    const field = last.error ? "error" : last.result ? "result" : "printed";
    const text = last.error
      ? [last.error.ename, last.error.evalue].filter(Boolean).join(": ")
      : endOf(last.result ?? last.stdout);
    const title = status === "idle" ? `The agent thinks; last was step ${last.step}` : `Last was step ${last.step}`;
    return make(
      "section.now.is-idle",
      { "aria-labelledby": "now-title" },
      make("h2", { id: "now-title" }, title),
      make("pre.now-code", null, python(startOf(last.code))),
      make(
        "div.now-printed",
        null,
        make("span.label", null, field),
        make("pre.now-out", null, foreign(text.slice(-LAST_CHARS))),
      ),
    );
  }

  #stopped(last) {
    const { head, used, stop } = this.record,
      name = limitOf(stop) ?? usedUp(used, head.limits);
    const which = name && head.limits[name] > 0 ? `${LIMITS[name].all(head.limits[name])} used` : "a limit was reached";
    const ran = last ? `The last step that ran is ${last.step}.` : "No step ran.";
    return halt(
      `Stopped: ${which}, and no answer was given`,
      `${ran} No further step runs; every value can still be read.`,
      [
        ["The agent can give its best answer", "rlm_finalize"],
        ["A person can look at the values", `rlm-kernel-mcp attach ${head.id}`],
      ],
    );
  }

  #dead() {
    return halt("The kernel is gone", "The session comes back on its next use, with what was kept.", [
      ["Start it again", `rlm-kernel-mcp resume ${this.record.head.id}`],
    ]);
  }

  #answer(final) {
    const citations = final.citations ?? [],
      text = final.answer ?? { text: "", chars: 0 };
    const chars = this.record.head.contexts.reduce((sum, one) => sum + one.chars, 0);
    const body = make("div.prose", null, prose(text.text, citations));
    const delivered = final.coverage?.delivered_by_text ?? final.coverage?.delivered;
    const rests = Number.isFinite(delivered)
      ? `Rests on ${count(delivered)} of ${plural(chars, "character")} delivered. `
      : "";
    return [
      make(
        "section.answer",
        { id: "answer", tabindex: "-1", "aria-labelledby": "answer-title" },
        make("h2", { id: "answer-title" }, "Answer"),
        body,
        text.cut ? this.#further(final, text, body) : null,
        make("p.rests", null, rests, sumOf(citations, final.more_citations)),
      ),
      citations.length
        ? make(
            "section.evidence",
            { "aria-labelledby": "evidence-title" },
            make("h2", { id: "evidence-title" }, "Evidence"),
            make(
              "ol.notes",
              null,
              citations.map((one) =>
                note(one, {
                  back: body.querySelector(`[id="ref-${CSS.escape(one.id)}"]`) ? `#ref-${one.id}` : "#answer",
                }),
              ),
            ),
          )
        : null,
    ];
  }

  /** The rest of a long answer, in pieces. */
  #further(final, text, body) {
    let from = 0;
    const button = make("button.more", { type: "button" }, `Show all · ${count(text.chars)} characters`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const got = await this.read(final, "answer", from);
        if (from === 0) body.replaceChildren();
        body.append(...prose(got.text, final.citations ?? []));
        from = got.next;
        button.textContent = `Show more · ${count(text.chars - (from ?? text.chars))} characters follow`;
        button.hidden = from == null;
      } catch (error) {
        button.textContent = `It could not be read (${error.message}); try again`;
      }
      button.disabled = false;
    });
    return button;
  }
}

function halt(title, words, commands) {
  return make(
    "section.halt",
    { "aria-labelledby": "now-title" },
    make("h2", { id: "now-title" }, title),
    make("p", null, words),
    make(
      "dl",
      null,
      commands.map(([what, how]) =>
        make("div", null, make("dt", null, what), make("dd", null, make("code", null, how))),
      ),
    ),
  );
}
