"""The page by keys alone: from the list to a citation and back, each control, and each key."""

from __future__ import annotations

from typing import Final

import pytest

from tests.watching.conftest import Open

pytestmark = pytest.mark.slow
AT: Final = "document.activeElement"
CONTROLS: Final = "'a[href], button:not(:disabled), input, summary'"
VISIBLE: Final = f"[...document.querySelectorAll({CONTROLS})].filter((one) => one.checkVisibility())"


def test_keys_alone_lead_from_the_sessions_to_a_citation_and_back(open_page: Open) -> None:
    tab = open_page("#/")
    tab.key("Tab")
    assert tab.run(f"{AT}.textContent") == "Skip to content"
    tab.key("Enter")
    assert tab.run(f"{AT}.id") == "main"
    tab.tab_to("at.getAttribute('href') === '#/s/answered'")
    tab.key("Enter")
    tab.wait("document.querySelector('a.ref')")
    assert tab.run(f"{AT}.id") == "main"
    tab.tab_to("at.id === 'ref-c2'")
    tab.key("Enter")
    assert tab.run(f"{AT}.id") == "cite-c2"
    tab.tab_to("at.className === 'number'", most=1)
    tab.key("Enter")
    assert tab.run(f"{AT}.id") == "ref-c2"
    tab.tab_to("at.className === 'pin'")
    tab.key("Enter")
    assert tab.run(f"{AT}.id").startswith("cite-c")
    assert tab.run("location.hash") == "#/s/answered"


@pytest.mark.parametrize("path", ["#/", "#/s/answered", "#/s/stopped"])
def test_tab_comes_to_every_control(open_page: Open, path: str) -> None:
    tab = open_page(path)
    tab.wait("!document.querySelector('.lanes[hidden]')")
    many = tab.run(f"{VISIBLE}.length")
    assert many > 3
    tab.run("window.came = new Set()")
    for _ in range(many + 20):
        tab.key("Tab")
        tab.run(f"window.came.add({AT}), 0")
    missed = tab.run(f"{VISIBLE}.filter((one) => !window.came.has(one)).map((one) => one.outerHTML)")
    assert missed == []


def test_each_key_does_what_the_help_says(open_page: Open) -> None:
    tab = open_page("#/s/answered")
    step = f"{AT}.getAttribute('aria-posinset')"
    tab.key("j")
    assert tab.run(step) == "1"
    tab.key("j")
    tab.key("j")
    tab.key("k")
    assert tab.run(step) == "2"
    tab.key("e")
    assert tab.run(f"{AT}.querySelector('.tag').textContent") == "KeyError"
    tab.key("o")
    assert tab.run("document.querySelector('.feed').classList.contains('is-outlined')")
    assert tab.run(step) == "3"
    tab.key("o")
    tab.key("f")
    assert tab.run("[...document.querySelectorAll('.tools [aria-pressed=true]')].map((one) => one.textContent)") == [
        "All 11",
        "Follow",
    ]
    tab.key("a")
    assert tab.run(f"{AT}.id") == "answer"
    assert tab.run("scrollY") == 0
    tab.key("/")
    tab.type("what nobody has written")
    assert tab.run("document.querySelector('.found').textContent") == "nothing found"
    tab.key("Escape")
    tab.key("?", shift=True)
    assert tab.run("document.querySelector('#keys').open")
    tab.key("Escape")
    assert not tab.run("document.querySelector('#keys').open")


def test_single_keys_can_be_switched_off(open_page: Open) -> None:
    tab = open_page("#/s/answered")
    tab.key("?", shift=True)
    tab.run("document.querySelector('#keys-on').click()")
    tab.key("Escape")
    tab.key("j")
    assert not tab.run(f"{AT}.matches('.step')")
    again = open_page("#/s/answered")
    again.key("j")
    assert not again.run(f"{AT}.matches('.step')")
    again.run("localStorage.clear()")


def test_find_counts_goes_round_and_marks_what_it_found(open_page: Open) -> None:
    tab = open_page("#/s/answered")
    found = "document.querySelector('.found').textContent"
    tab.key("/")
    tab.type("HITS")
    assert tab.run(found) == "1 of 5"
    for _ in range(4):
        tab.key("Enter")
    assert tab.run(found) == "5 of 5"
    tab.key("Enter")
    assert tab.run(found) == "1 of 5"
    tab.key("Enter", shift=True)
    assert tab.run(found) == "5 of 5"
    assert tab.run("CSS.highlights.get('found').size") > 0
    assert tab.run(f"{AT}.id") == "find"


def test_what_is_shown_can_be_chosen_by_kind(open_page: Open) -> None:
    tab = open_page("#/s/answered")
    counts = (
        "[...document.querySelectorAll('.choices button')].filter((one) => !one.hidden).map((one) => one.textContent)"
    )
    assert tab.run(counts) == ["All 11", "Went wrong 5", "Delivered text 1", "Sub-calls 1", "A person\u2019s 1"]
    tab.run("document.querySelectorAll('.choices button')[1].click()")
    assert tab.run("document.querySelectorAll('article').length") == 5
    assert tab.run("document.querySelector('article').getAttribute('aria-setsize')") == "5"


def test_zooming_into_the_map_and_out_again_leaves_the_focus_on_it(open_page: Open) -> None:
    tab = open_page("#/s/answered")
    tab.tab_to("at.className === 'stretch'")
    tab.key("Enter")
    tab.wait("document.querySelector('.map-head p').textContent === 'asyncio · characters 0 to 500,000'")
    tab.wait("[...document.querySelectorAll('.map button')].find((one) => one.textContent === 'Whole context')")
    tab.tab_to("at.textContent === 'Whole context'")
    tab.key("Enter")
    tab.wait("document.querySelector('.map-head p').textContent.includes('2,000,000 characters')")
    assert tab.run(f"{AT}.className") == "stretch"
