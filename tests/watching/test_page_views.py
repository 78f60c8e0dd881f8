"""What a person looks for is in the window: two views, in each state of a session, on a desk and on a phone."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.parts import axe
from tests.watching import scenes
from tests.watching.conftest import Open
from tests.watching.stage import Play, Stage
from tests.watching.tab import DESK, PHONE, Tab

pytestmark = pytest.mark.slow
PATHS: Final = {name: f"#/s/{name}" for name in ("running", "answered", "stopped", "dead")} | {"sessions": "#/"}
LOOKED_FOR: Final = {
    "sessions": [
        "Live",
        "Ended",
        scenes.QUESTION,
        "step 5 for 3 s",
        "answered, 2 of 2 citations verified",
        "stopped: all 100,000 characters used; no answer yet",
        "no question was given",
        "Kernel gone",
    ],
    "running": [
        scenes.QUESTION,
        "Running",
        "codex",
        "Step 5, running",
        "print(hit.line, flush=",
        "asyncio/events.py:212",
        "59 left",
        "2,000,000 characters in 120 documents",
        "searched 50 %",
        "delivered 600 chars, 0.03 %",
        "nothing cited yet",
    ],
    "answered": [
        scenes.QUESTION,
        "Answered",
        "There are 1,400 handlers that do nothing.",
        "Rests on 600 of 2,000,000 characters delivered.",
        "2 of 2 citations verified against the sources\u2019 own bytes.",
        "asyncio/events.py:212",
        "except FileExistsError:",
        "verified, white space differs",
        "3 places",
        "cited 70 chars",
    ],
    "stopped": [
        "Stopped by a limit",
        "Stopped: all 100,000 characters used, and no answer was given",
        "used up",
        "rlm_finalize",
        "rlm-kernel-mcp attach stopped",
        "Went wrong",
    ],
    "dead": ["No question was given", "Kernel gone", "The kernel is gone", "rlm-kernel-mcp resume dead"],
}
"""On the first screen of a desk; on a phone below each other."""
IN_THE_STEPS: Final = {
    "running": [
        "KeyError",
        "a person\u2019s cell",
        "ran out of time",
        "Kernel replaced",
        "Older than the kill",
        "Gone",
    ],
    "answered": [
        "Refused",
        "1 of 2 citations was not found.",
        "not found; nearest shown",
        "the answer said",
        "Sub-calls",
    ],
}
FIND: Final = """(wanted) => {
  const plain = (text) => text.replaceAll("\\u00a0", " ");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.checkVisibility() && plain(node.innerText ?? "").includes(wanted)) found.push(node);
  }
  const inner = found.filter((node) => !found.some((other) => other !== node && node.contains(other)));
  return inner.map((node) => node.getBoundingClientRect()).map((box) => [box.left, box.top, box.right, box.bottom]);
}"""
SIDEWAYS: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def places(tab: Tab, words: str) -> list[list[float]]:
    """Where words stand that can be seen: left, top, right and bottom of the innermost elements that have them."""
    found: list[list[float]] = tab.run(f"({FIND})({json.dumps(words)})")
    return found


@pytest.mark.parametrize("name", LOOKED_FOR)
def test_what_a_person_looks_for_is_in_the_window(open_page: Open, name: str) -> None:
    tab = open_page(PATHS[name])
    tab.wait("!document.querySelector('.meters') || document.querySelector('.map .legend')")
    for colours in ("light", "dark"):
        tab.media(prefers_color_scheme=colours)
        for width, height in (DESK, PHONE, (320, 600)):
            tab.size(width, height)
            tab.wait(f"innerWidth === {width} && {SIDEWAYS} <= 0")  # pins follow with the next frame
            for words in LOOKED_FOR[name]:
                boxes = [box for box in places(tab, words) if box[0] >= 0 and box[2] <= width]
                assert boxes, (name, colours, width, words, tab.text())
                assert width < DESK[0] or any(box[3] <= height for box in boxes), (name, words, boxes)


@pytest.mark.parametrize("name", IN_THE_STEPS)
def test_the_steps_say_what_went_wrong(open_page: Open, name: str) -> None:
    tab = open_page(PATHS[name])
    for words in IN_THE_STEPS[name]:
        assert places(tab, words), (words, tab.text())


def test_several_contexts_have_a_map_each_of_which_the_first_is_open(open_page: Open, stage: Stage) -> None:
    (first,) = scenes.head("two", "idle")["contexts"]
    both = [first, {**first, "name": "orders", "chars": 500, "documents": 1, "stretches": []}]
    said = scenes.step(1, delivered={"orders": [[0, 250]]})
    stage.plays["two"] = Play([scenes.head("two", "idle", contexts=both), scenes.events(said)], ends=False)
    tab = open_page("#/s/two")
    assert tab.run("[...document.querySelectorAll('.map details:not(.lanes)')].map((one) => one.open)") == [True, False]
    tab.run("document.querySelectorAll('.map details:not(.lanes) > summary')[1].click()")
    delivered = (
        "[...document.querySelectorAll('.of-delivered')].map((one) => one.textContent.replaceAll('\\u00a0', ' '))"
    )
    assert tab.run(delivered) == ["delivered 0 chars, 0 %", "delivered 250 chars, 50 %"]
    assert tab.run("document.querySelectorAll('.map h2').length") == 2


def test_the_box_of_files_says_what_lists_them_and_counts_none(open_page: Open) -> None:
    tab = open_page(PATHS["answered"])
    tab.run("document.querySelector('#box-files summary').click()")
    tab.wait("document.querySelector('#box-files p')")
    shown = tab.run("document.querySelector('#box-files').innerText")
    assert " ".join(shown.split()) == "Files rlm-kernel-mcp files lists them."


def test_colours_are_the_designs(open_page: Open) -> None:
    tab = open_page(PATHS["stopped"])
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    tab.media(prefers_color_scheme="light")
    assert tab.run(paper) == "rgb(246, 245, 241)"
    tab.media(prefers_color_scheme="dark")
    assert tab.run(paper) == "rgb(19, 21, 25)"


def test_nothing_moves_for_who_wants_no_motion(open_page: Open) -> None:
    tab = open_page(PATHS["running"])
    name = "getComputedStyle(document.querySelector('.pill i')).animationName"
    assert tab.run(name) == "beat"
    tab.media(prefers_reduced_motion="reduce")
    assert tab.run(name) == "none"


def test_colours_that_a_person_forces_leave_bars_and_marks_to_be_seen(open_page: Open) -> None:
    tab = open_page(PATHS["answered"])
    tab.media(forced_colors="active")
    assert tab.run("getComputedStyle(document.querySelector('.bar i')).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert tab.run("getComputedStyle(document.querySelector('mark')).borderTopStyle") == "solid"


@pytest.mark.parametrize("name", PATHS)
def test_axe_finds_no_fault(open_page: Open, name: str) -> None:
    """In light and dark on a desk, and on a phone, with everything open that can be."""
    tab = open_page(PATHS[name], bypasses_policy=True)  # axe itself makes what the policy forbids
    tab.run(f"{axe().read_text(encoding='utf-8')};0")
    tab.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for colours, size in (("light", DESK), ("dark", DESK), ("light", PHONE)):
        tab.media(prefers_color_scheme=colours)
        tab.size(*size)
        found = faults(tab)
        assert found["checked"] > 10
        assert found["faults"] == [], (name, colours, size)


def faults(tab: Tab) -> dict[str, Any]:
    """What axe has against the page as it is, with the elements."""
    found: dict[str, Any] = tab.run(
        "axe.run(document).then((all) => ({ checked: all.passes.length, faults: all.violations.map((one) => "
        "[one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 200))]) }))"
    )
    return found


def test_the_agent_s_own_time_and_what_a_step_has_called_are_said(open_page: Open, stage: Stage) -> None:
    """In the step's words, and as a hairline of the run."""
    paced = scenes.step(40, functions={"search": 2, "cite": 1})
    stage.plays["paced"] = Play([scenes.head("paced", "idle"), scenes.events(scenes.step(1), paced)], ends=False)
    tab = open_page("#/s/paced")
    tab.wait("document.querySelectorAll('article').length === 2")
    facts = tab.run("[...document.querySelectorAll('.facts')].map((one) => one.innerText.replaceAll('\\u00a0', ' '))")
    assert "after the step before" not in facts[0]
    assert "38 s after the step before" in facts[1]
    assert "search 2" in facts[1]
    assert "cite 1" in facts[1]
    assert tab.run("document.querySelectorAll('.strip .is-pause').length") == 1


def test_what_a_step_displayed_and_is_no_picture_is_shown_as_its_source(open_page: Open, stage: Stage) -> None:
    """Whole where the message has it; else as a person asks for it, and found by its words."""
    images = [
        {"mime": "text/html", "bytes": 30, "place": 1, "sha": "1-0", "source": scenes.text("<b id=owned>a table</b>")},
        {"mime": "text/markdown", "bytes": 9, "place": 2, "sha": "1-1"},
    ]
    shown = scenes.step(1, images=images)
    stage.plays["sources"] = Play([scenes.head("sources", "idle"), scenes.events(shown)], ends=False)
    stage.answers["text"] = lambda query: {"text": f"# {query['field']}", "from": 0, "next": None, "chars": 9}
    tab = open_page("#/s/sources")
    tab.wait("document.querySelectorAll('.is-shown').length === 2")
    assert tab.run("document.querySelector('.is-shown pre').textContent") == "<b id=owned>a table</b>"
    assert tab.run("document.querySelector('#owned')") is None
    assert "text/html of 30 bytes" in tab.text()
    tab.run("document.querySelectorAll('.is-shown')[1].querySelector('.more').click()")
    tab.wait("document.querySelectorAll('.is-shown pre')[1].textContent === '# shown-1'")
    tab.key("/")
    tab.type("A TABLE")
    tab.wait("document.querySelector('.found').textContent === '1 of 1'")


def test_before_it_is_told_what_was_searched_the_map_says_that_it_does_not_know(open_page: Open, stage: Stage) -> None:
    """And not that nothing was noted: that is another fact, which the stream tells."""
    play = stage.plays["early"] = Play([scenes.head("early", "idle"), scenes.events(scenes.step(1))], ends=False)
    tab = open_page("#/s/early")
    said = "document.querySelector('.of-searched').textContent"
    assert tab.run(said) == "searched: not known yet"
    play.later.put({"type": "map", "context": "context", "searched": None})
    tab.wait(f"{said} === 'searched: not tracked'")
