"""One browser and one stage for the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.lab.chromium import Chromium, started
from tests.parts import chromium
from tests.watching import scenes
from tests.watching.stage import Play, Stage, staged
from tests.watching.tab import DESK, Tab, opened

Open = Callable[..., Tab]
DRAWN: Final = {"running": ".now-out", "answered": ".answer", "stopped": ".halt", "dead": ".halt"}
"""What is there once the last message is drawn, beside the steps: a frame may come between two messages."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """It finds this machine, and no other."""
    with started(chromium(), tmp_path_factory.mktemp("profile"), reaches="127.0.0.1") as made:
        yield made


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """With a session in each state."""
    with staged() as made:
        made.plays |= {
            "answered": Play(scenes.finished("answered"), ends=False),
            "running": Play(scenes.running("running"), ends=False),
            "stopped": Play(scenes.stopped("stopped"), ends=False),
            "dead": Play(scenes.dead("dead"), ends=False),
        }
        made.rows = [
            scenes.row("running", "running"),
            scenes.row("answered", "finalized", said="answered, 2 of 2 citations verified"),
            scenes.row("stopped", "stopped", said="stopped: all 100,000 characters used; no answer yet"),
            scenes.row("dead", "dead", title=None, chars=None),
        ]
        lane = {"name": "asyncio/events.py", "start": 0, "chars": 9_000, "delivered": [[0, 600]], "cited": [[300, 330]]}
        made.answers = {
            "documents": lambda query: lane if "at" in query else {"documents": [lane], "read": 1, "total": 120},
            "map": lambda query: {
                "from": int(query["from"]),
                "to": int(query["to"]),
                "searched": None,
                "delivered": [],
                "stretches": [{"name": "asyncio/events.py", "start": 0, "end": 9_000, "documents": 1}],
            },
            "files": {"files": [], "words": "rlm-kernel-mcp files lists them."},
        }
        yield made


@pytest.fixture
def open_page(browser: Chromium, stage: Stage) -> Iterator[Open]:
    """Opens pages of the stage; whatever they complain of fails the test."""
    tabs: list[Tab] = []
    with ExitStack() as stack:

        def go(path: str, size: tuple[int, int] = DESK, *, bypasses_policy: bool = False) -> Tab:
            tab = stack.enter_context(opened(browser, *size))
            tabs.append(tab)
            tab.ask("Page.setBypassCSP", enabled=bypasses_policy)
            tab.go(stage.address + path)
            last = DRAWN.get(path.rpartition("/")[2], "article, a.row")
            tab.wait(f"document.querySelector('article, a.row') && document.querySelector('{last}')")
            return tab

        yield go
    for tab in tabs:
        assert tab.complaints == []
        assert [one for one in tab.requested if not one.startswith((stage.address, "data:"))] == []
