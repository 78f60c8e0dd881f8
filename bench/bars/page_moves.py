"""A person who moves in the live page of a session of 10,000 steps, and in that of one of 100: the worst frame.

Is: keys, clicks and turns of the wheel, as the browser has them from a person, and the longest task of the page's main
thread meanwhile, in processor time. Is not: what is seen first (`live_page.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from bench.bars.live_page import FEW, MANY, READY, pages
from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.sides.tracing import longest_task_ms
from tests.lab.chromium import Chromium
from tests.watching.tab import DESK, Tab, opened

WORDS: Final = "needle 5"
"""Typed letter by letter: in every step until its last one, which is in each ninth."""
WAITS: Final = 10
"""Each for as long as a test waits: a machine that has much else to do takes minutes to bring 10,000 steps."""
TURNS: Final = 120
TURN_PX: Final = 240
PLACE: Final = """(() => {
  const node = %s;
  node.scrollIntoView({ block: "center", behavior: "instant" });
  const { x, y, width, height } = node.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
})()"""
BAR: Final = "[...document.querySelectorAll('.strip rect')].at(document.querySelectorAll('.strip rect').length >> 1)"
MORE: Final = "document.activeElement.closest('article').querySelector('button.more')"


async def watch_moves(amounts: Amounts) -> list[Row]:
    """Each visit in a tab of its own, which makes all the moves in the order in which they stand below."""
    times, warm_up = amounts.times(9), 0 if amounts.smoke else 1
    with pages(amounts) as (browser, addresses):
        sides = [_Side(browser, address, steps) for address, steps in addresses]
        await interleave([side.visit for side in sides], times, warm_up)
    what = f"the page's longest task when {{}}, with {MANY:,} steps (processor time)"
    ours, other = ({move: Figures(tuple(side.seen[move][warm_up:])) for move in MOVES} for side in sides)
    return [Row(what.format(move), ours[move], f"with {FEW}", other[move], bar=Bar(2.0)) for move in MOVES]


class _Side:
    """One session's page."""

    def __init__(self, browser: Chromium, address: str, steps: int) -> None:
        self._browser, self._address, self._ready = browser, address, READY.format(steps)
        self.seen: dict[str, list[float]] = {move: [] for move in MOVES}

    async def visit(self) -> float:
        """Milliseconds of the worst of all moves; each is kept as well."""
        with opened(self._browser) as tab:
            tab.ask("Page.navigate", url=self._address)
            for _ in range(WAITS):
                with contextlib.suppress(AssertionError):
                    tab.wait(self._ready)
                    break
            for move, act in MOVES.items():
                self.seen[move].append(longest_task_ms(tab, act(tab)))
        return max(seen[-1] for seen in self.seen.values())


def _click(tab: Tab, node: str) -> Callable[[], None]:
    """What is to be clicked is looked for before the click is measured."""
    x, y = tab.run(PLACE % node)

    def act() -> None:
        for what in ("mousePressed", "mouseReleased"):
            tab.ask("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    return act


def _wheel(tab: Tab) -> Callable[[], None]:
    x, y = (size / 2 for size in DESK)

    def act() -> None:
        for _ in range(TURNS):
            tab.ask("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-TURN_PX)

    return act


def _find(tab: Tab) -> Callable[[], None]:
    def act() -> None:
        tab.key("/")
        for letter in WORDS:
            tab.type(letter)
        tab.key("Enter")

    return act


MOVES: Final[dict[str, Callable[[Tab], Callable[[], None]]]] = {
    "a bar of the strip is clicked": lambda tab: _click(tab, BAR),
    "the output of a step is opened": lambda tab: _click(tab, MORE),
    "the steps are scrolled by the wheel": _wheel,
    "a word is typed that is to be found": _find,
    "the outline is switched on": lambda tab: lambda: tab.key("o"),
}
