"""The live page of a session of 10,000 steps beside that of one of 100: what is seen first, and a jump to a step.

Is: `rlm-kernel-mcp watch` over a record, and headless Chromium. Is not: what a watcher costs a step that runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measure import Amounts, Bar, Row, interleave
from tests.lab.chromium import Chromium, started
from tests.parts import chromium
from tests.unit.watching.recorded import Recorded
from tests.watching.tab import opened
from tests.watching.watched import watched

MANY: Final = 10_000
FEW: Final = 100
LINES: Final = 40
FIRST: Final = "document.querySelector('article') && performance.now()"
READY: Final = "document.querySelector('.choices button')?.textContent === 'All {:,}'"
JUMP: Final = """new Promise((done) => {
  const bars = [...document.querySelectorAll('.strip rect')];
  const begin = performance.now();
  bars[bars.length >> 1].dispatchEvent(new MouseEvent("click", { bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)));
})"""


@contextmanager
def pages(amounts: Amounts) -> Iterator[tuple[Chromium, list[tuple[str, int]]]]:
    """A browser that is let in, and the addresses of the two sessions' pages, each with its number of steps."""
    many = FEW if amounts.smoke else MANY
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for steps in {FEW, many}:
            record(place / "state", steps)
        with watched(place / "state") as watch, started(chromium(), place / "profile", reaches="127.0.0.1") as browser:
            with opened(browser) as tab:
                tab.go(watch.address)  # from here on the browser has the cookie
                page = tab.run("location.href")
            yield browser, [(f"{page}#/s/s_{steps}", steps) for steps in (many, FEW)]


async def watch_page(amounts: Amounts) -> list[Row]:
    """Each side in a tab of its own, from its address to its first card; then one jump, up to the next frame."""
    with pages(amounts) as (browser, addresses):
        sides = [_Side(browser, address, steps) for address, steps in addresses]
        ours, other = await interleave([side.sample for side in sides], amounts.times(7), 0 if amounts.smoke else 1)
        jumps = await interleave([side.jump for side in sides], amounts.times(7), 0 if amounts.smoke else 1)
    bar = Bar(2.0)
    return [
        Row(f"live page: the first card of {MANY:,} steps", ours, f"of {FEW} steps", other, bar=bar),
        Row(f"live page: a jump among {MANY:,} steps", jumps[0], f"among {FEW} steps", jumps[1], bar=bar),
    ]


def record(state: Path, steps: int) -> None:
    """A session of so many steps, each with more output than its card shows at first."""
    session = Recorded(state, f"s_{steps}")
    try:
        for number in range(steps):
            session.step(
                f"hits = search('needle {number}')\nprint(*hits, sep='\\n')", stdout=f"a hit of {number}\n" * LINES
            )
    finally:
        session.close()


class _Side:
    """One session's page."""

    def __init__(self, browser: Chromium, address: str, steps: int) -> None:
        self._browser, self._address, self._ready = browser, address, READY.format(steps)

    async def sample(self) -> float:
        """Milliseconds from the address to the first card."""
        with opened(self._browser) as tab:
            tab.ask("Page.navigate", url=self._address)
            return float(tab.wait(FIRST))

    async def jump(self) -> float:
        """Milliseconds of a jump to the middle, once all steps are there."""
        with opened(self._browser) as tab:
            tab.ask("Page.navigate", url=self._address)
            tab.wait(self._ready)
            return float(tab.run(JUMP))
