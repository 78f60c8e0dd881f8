"""The page and its stream: steps as they come, a connection that breaks, a tab nobody looks at, 10,000 steps, paper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.watching import scenes
from tests.watching.conftest import Open
from tests.watching.stage import Play, Stage

pytestmark = pytest.mark.slow
IDS: Final = "[...document.querySelectorAll('article')].map((one) => one.id.slice(1))"
LINK: Final = "document.querySelector('#link').textContent"
OUT: Final = "document.querySelector('.now-out').textContent"
FOUND: Final = "document.querySelector('.found').textContent"
MANY: Final = 10_000
NODES_MAX: Final = 15_000


@contextmanager
def played(stage: Stage, name: str, messages: list[dict[str, Any]]) -> Iterator[Play]:
    """A session of a test's own."""
    play = stage.plays[name] = Play(messages, ends=False)
    yield play
    del stage.plays[name]


def test_cards_are_shown_while_a_step_runs_and_its_output_streams_into_the_slot(open_page: Open, stage: Stage) -> None:
    with played(stage, "now", scenes.running("now")) as play:
        tab = open_page("#/s/now")
        assert tab.run(LINK) == "live"
        assert len(tab.run(IDS)) == 8
        for number in range(3):
            play.later.put({"type": "output", "step": 5, "field": "stdout", "text": f"line {number}\n"})
        tab.wait(f"{OUT}.endsWith('line 2')")
        assert tab.run(OUT).splitlines() == ["asyncio/events.py:212", "line 0", "line 1", "line 2"]
        top = "document.querySelector('.contexts').getBoundingClientRect().top"
        before = tab.run(top)
        play.later.put({"type": "output", "step": 5, "field": "stdout", "text": "more\n" * 50, "skipped": 7_000})
        tab.wait("document.querySelector('.now-printed .label').textContent.includes('7,000 characters')")
        assert tab.run(top) == before, "what is below the slot has moved"
        done = scenes.step(20, step=5, result=scenes.text("None"))
        play.later.put({"type": "event", "event": done, "status": "idle"})
        tab.wait("document.querySelector('.now h2').textContent === 'The agent thinks; last was step 5'")
        assert tab.run(IDS)[-1] == done["id"]


def test_a_step_that_ends_after_its_interrupts_stands_before_them(open_page: Open, stage: Stage) -> None:
    first, *_, interrupt = (scenes.step(1), scenes.event(3, "interrupt", step=2, summary="SIGINT", cost=0))
    with played(stage, "order", [scenes.head("order", "running"), scenes.events(first, interrupt)]) as play:
        tab = open_page("#/s/order")
        step = scenes.step(2, status="interrupted")
        play.later.put({"type": "event", "event": step, "status": "idle"})
        tab.wait("document.querySelectorAll('article').length === 3")
        assert tab.run(IDS) == [first["id"], step["id"], interrupt["id"]]
        assert tab.run("[...document.querySelectorAll('article')].map((one) => one.ariaPosInSet)") == ["1", "2", "3"]


def test_who_listens_hears_of_faults_and_of_the_end_but_not_of_output(open_page: Open, stage: Stage) -> None:
    said = "document.querySelector('#say').textContent"
    with played(stage, "said", scenes.running("said")) as play:
        tab = open_page("#/s/said")
        assert tab.run(said) == ""
        play.later.put({"type": "output", "step": 5, "field": "stdout", "text": "a secret\n"})
        failed = {"ename": "ValueError", "evalue": "x", "traceback": scenes.text("ValueError: x")}
        play.later.put(
            {"type": "event", "event": scenes.step(20, step=5, status="error", error=failed), "status": "idle"}
        )
        tab.wait(f"{said} === 'Step 5: ValueError'")
        play.later.put(scenes.ended("finalized"))
        tab.wait(f"{said} === 'Answered' && {LINK} === 'ended'")


@pytest.mark.parametrize("says_all_again", [False, True], ids=["after-the-last", "from-the-beginning"])
def test_a_broken_connection_is_taken_up_again_without_doubles(
    open_page: Open, stage: Stage, says_all_again: bool
) -> None:
    with played(stage, "broken", scenes.running("broken")) as play:
        tab = open_page("#/s/broken")
        last = tab.run(IDS)[-1]
        more = scenes.step(20, step=5)
        play.messages.append(scenes.events(more))
        play.says_all_again = says_all_again
        play.later.put(None)
        tab.wait("document.querySelectorAll('article').length === 9")
        tab.wait(f"{LINK} === 'live'")
        ids = tab.run(IDS)
        assert len({*ids}) == len(ids)
        assert ids[-1] == more["id"]
        assert play.resumed_after[0] is None
        assert play.resumed_after[1] == last
        assert tab.run("document.querySelectorAll('.choices button')[0].textContent") == "All 9"


def test_where_nobody_looks_the_connection_is_closed_and_then_taken_up_after_the_last(open_page: Open) -> None:
    """With a source and a bound of its own: a minute is long, and a tab of a test is always seen."""
    tab = open_page("#/s/answered")
    told = tab.run("""(async () => {
      const { Stream } = await import("./run/stream.js");
      const addresses = [], states = [], made = [];
      class Source {
        constructor(address) { addresses.push(address); made.push(this); this.readyState = 1; }
        close() { this.readyState = 2; }
      }
      let seen = "visible";
      Object.defineProperty(document, "visibilityState", { get: () => seen, configurable: true });
      const be = (state) => { seen = state; document.dispatchEvent(new Event("visibilitychange")); };
      const paused = new Promise((done) => {
        new Stream((after) => String(after), {
          onMessage: () => {},
          onState: (state) => { states.push(state); if (state === "paused") done(); },
          hiddenMs: 1,
          Source,
        });
      });
      made[0].onopen();
      made[0].onmessage({ lastEventId: "7", data: "{}" });
      be("hidden");
      await paused;
      const closed = made[0].readyState;
      be("visible");
      made[1].onopen();
      return { addresses, states, closed };
    })()""")
    assert told == {"addresses": ["null", "7"], "states": ["live", "paused", "live"], "closed": 2}


def test_ten_thousand_steps_are_one_scroll_of_few_nodes_in_which_a_jump_lands_where_it_should(
    open_page: Open, stage: Stage
) -> None:
    many = [scenes.step(number, status="error" if number == 7_777 else "ok") for number in range(1, MANY + 1)]
    parts = [scenes.events(*many[at : at + 500]) for at in range(0, MANY, 500)]
    with played(stage, "many", [scenes.head("many", "finalized"), *parts, scenes.ended("finalized")]):
        tab = open_page("#/s/many")
        tab.wait(f"{LINK} === 'ended' && document.querySelector('.choices button').textContent === 'All 10,000'")
        nodes = "document.querySelectorAll('*').length"
        assert tab.run(nodes) < NODES_MAX
        tab.key("e")
        assert tab.run("document.activeElement.querySelector('h3').textContent") == "Step 7777"
        tab.wait(
            "[...document.querySelectorAll('.chunk')].every((one) => { const box = one.getBoundingClientRect(); "
            "return one.childElementCount > 0 || box.bottom < -1200 || box.top > innerHeight + 1200; })"
        )
        landed = tab.run(
            "document.activeElement.getBoundingClientRect().top - "
            "parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop)"
        )
        assert abs(landed) <= 2
        assert tab.run(nodes) < NODES_MAX
        assert tab.run("document.activeElement.ariaPosInSet") == "7777"
        assert tab.run("document.activeElement.ariaSetSize") == "10000"
        tab.key("/")
        tab.type("handler 9998")
        tab.wait(f"{FOUND} === '1 of 1'")
        tab.run("document.querySelector('#find').value = ''")
        tab.type("handler")
        tab.key("Enter", shift=True)  # while it is looked for: before the first is the last, of all
        tab.wait(f"{FOUND} === '10,000 of 10,000'")
        assert tab.run("[...document.querySelectorAll('.strip rect')].length") <= 300


def test_paper_has_every_step(open_page: Open, stage: Stage) -> None:
    messages = [
        scenes.head("paper", "finalized"),
        scenes.events(*map(scenes.step, range(200))),
        scenes.ended("finalized"),
    ]
    with played(stage, "paper", messages):
        tab = open_page("#/s/paper")
        assert len(tab.run(IDS)) < 200
        tab.run("addEventListener('beforeprint', () => (window.printed = document.querySelectorAll('article').length))")
        assert tab.ask("Page.printToPDF")["data"].startswith("JVBERi0")
        assert tab.run("window.printed") == 200
        tab.wait("document.querySelectorAll('article').length < 200")
