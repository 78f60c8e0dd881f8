"""A session as one file, opened from the disk: the same page, which asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.watching.exporting import exported
from tests.lab.chromium import Chromium
from tests.watching import scenes
from tests.watching.tab import PHONE, Tab, opened
from tests.watching.test_page_hostile import hostile

pytestmark = pytest.mark.slow
LANE: Final = {"name": "asyncio/events.py", "start": 0, "chars": 9_000, "delivered": [[0, 600]], "cited": [[300, 330]]}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def tab(browser: Chromium) -> Iterator[Tab]:
    """Whatever it complains of, or asks for beside its own file, fails the test."""
    with opened(browser) as made:
        yield made
    assert made.complaints == []
    assert [one for one in made.requested if not one.startswith(("file:", "data:"))] == []


def show(tab: Tab, path: Path, messages: list[dict[str, Any]]) -> None:
    path.write_text(exported(messages), encoding="utf-8")
    tab.go(path.as_uri())
    tab.wait("document.querySelector('article')")


def test_it_has_the_answer_the_steps_and_the_map_and_its_keys_work(tab: Tab, tmp_path: Path) -> None:
    lanes = {"type": "documents", "context": "context", "documents": [LANE], "read": 1, "total": scenes.DOCUMENTS}
    show(tab, tmp_path / "page.html", [*scenes.finished("saved")[:-1], lanes, scenes.ended("finalized")])
    assert tab.run("document.querySelector('#link').textContent") == "saved page"
    assert tab.run("document.querySelectorAll('article').length") == 11
    assert "There are 1,400 handlers that do nothing." in tab.text()
    assert "1 document read from; 119 not delivered" in tab.text()
    tab.key("e")
    assert tab.run("document.activeElement.querySelector('.tag').textContent") == "KeyError"
    tab.run("document.querySelector('.stretch').click()")
    tab.wait("document.querySelector('.map-head p').textContent === 'asyncio · characters 0 to 500,000'")
    assert tab.run("document.querySelector('.home').href") == ""
    tab.size(*PHONE)
    tab.wait("innerWidth === 360 && document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_its_texts_are_whole_as_far_as_it_has_them_and_it_says_what_is_missing(tab: Tab, tmp_path: Path) -> None:
    step = scenes.step(1, stdout=scenes.text("head\n" * 20, cut=10_000, tail="the tail\n"))
    show(
        tab, tmp_path / "page.html", [scenes.head("saved", "finalized"), scenes.events(step), scenes.ended("finalized")]
    )
    tab.run("document.querySelector('.is-printed .more').click()")
    tab.wait("document.querySelector('.is-printed pre').textContent.includes('the tail')")
    assert "10,000 characters are not in this file" in tab.text()


def test_pictures_are_in_it(tab: Tab, tmp_path: Path) -> None:
    image = {"mime": "image/png", "bytes": 70, "place": 1, "data": f"data:image/png;base64,{PIXEL}"}
    step = scenes.step(1, images=[image])
    show(
        tab, tmp_path / "page.html", [scenes.head("saved", "finalized"), scenes.events(step), scenes.ended("finalized")]
    )
    tab.wait("document.querySelector('img.picture').naturalWidth === 1")
    assert tab.run("document.querySelector('img.picture').alt") == "picture of step 1"


def test_hostile_texts_are_text_in_it_too(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path / "page.html", hostile("saved"))
    assert tab.run("document.title") == f"{scenes.QUESTION} · rlm watch"
    assert tab.run("document.querySelectorAll('main script, main img, main style, main iframe').length") == 0
