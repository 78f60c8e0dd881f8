"""JupyterLab's page in Chromium, with kernels that forge what acts as the output of the person's own cell.

Beside it the same cell in a stock server, where every attack arrives: what cannot fail shows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.escape.cases import read_corpus
from tests.lab.chromium import Chromium, started
from tests.lab.home import LOCKED, STOCK, Home
from tests.lab.lab_server import lab_server
from tests.lab.live.browsing import OUTPUTS, Canary, Tab, canary, notebook
from tests.lab.live.serving import LiveServer, home_with, kernel_id_of
from tests.parts import chromium
from tests.sessions import SessionDriver

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
FORGED: Final = ("krn-forge-displays", "krn-forge-page")
END: Final = "the-end-of-it"
REACHED: Final = {"html", "javascript", "markdown", "picture", "terminals", "python3", "contents"}
"""What the control reaches: by scripts of several kinds, and by the addresses of pictures."""
IN_THE_PAGE: Final = "document.querySelectorAll('[data-forged]').length + Object.keys(window.forged || {}).length"
KERNELS: Final = "[...document.querySelectorAll('.jp-Dialog select option')].map(one => one.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all pages."""
    with started(chromium(), tmp_path_factory.mktemp("profile"), reaches="127.0.0.1") as made:
        yield made


@contextmanager
def opened(browser: Chromium, url: str) -> Iterator[Tab]:
    """A page whose kernel is there and waits."""
    with closing(Tab(browser)) as tab:
        tab.open(url)
        tab.until("document.body.innerText.includes('| Idle')")
        yield tab


def cells(watched: Canary) -> list[str]:
    """The cases, and a cell that shows that they are over."""
    cases = [case for case in read_corpus() if case.name in FORGED]
    places = {"CANARY_PORT": str(watched.port)}
    return [*("\n".join(case.filled(places)) for case in cases), f"print('-'.join({END.split('-')!r}))"]


async def test_a_page_shows_sessions_by_their_ids_and_runs_a_cell(
    lab: LiveServer, registry: Registry, agent: SessionDriver, browser: Chromium
) -> None:
    """As a person does it: a notebook, its kernel's name, the list of kernels, and a cell."""
    other = await SessionDriver.open(registry)
    await agent.ok("found = 6")
    for driver in (agent, other):
        await lab.until_listed(kernel_id_of(driver))
    url = await notebook(lab, "seen.ipynb", {"id": kernel_id_of(agent)}, ["found * 7"])

    def look() -> list[str]:
        with opened(browser, url) as tab:
            tab.run_cells(1, "42")
            tab.click(".jp-Toolbar-kernelName")
            tab.until(f"({KERNELS}).length > 0")
            shown: list[str] = tab.evaluate(KERNELS)
        return shown

    kernels = await asyncio.to_thread(look)
    assert f"seen.ipynb ({agent.session_id})" in kernels
    assert f"{LOCKED} ({other.session_id})" in kernels
    assert not any("ipykernel" in one for one in kernels)


async def test_what_a_kernel_forges_acts_in_no_page(
    lab: LiveServer, registry: Registry, agent: SessionDriver, browser: Chromium
) -> None:
    """No terminal, no other kernel, no file, no port, and not the kernel of another session."""
    other = await SessionDriver.open(registry)
    await lab.until_listed(kernel_id_of(agent))
    async with canary() as watched:
        written = cells(watched)
        url = await notebook(lab, "forged.ipynb", {"id": kernel_id_of(agent)}, written)
        before = await lab.listed()

        def run() -> tuple[str, int]:
            with opened(browser, url) as tab:
                tab.run_cells(len(written), END)
                return tab.evaluate(OUTPUTS), tab.evaluate(IN_THE_PAGE)

        shown, acted = await asyncio.to_thread(run)
        assert watched.heard == set()
    assert acted == 0
    assert "<b data-forged>bold</b>" in shown, "it is there, as text"
    assert (await lab.listed()).keys() == before.keys()
    contents = await lab.ask("GET", "contents")
    assert "forged.txt" not in [one["name"] for one in contents["content"]]
    assert [one.code for one in await other.trace() if one.source == "console"] == []


async def test_the_same_acts_in_a_stock_server(home: Home, browser: Chromium) -> None:
    """The control: every attack arrives in a page that takes a kernel's messages as they come."""
    async with canary() as watched, lab_server(home_with(home, RLM_IMPORT_POLICY="any")) as stock:
        url = await notebook(stock, "forged.ipynb", {"name": LOCKED}, cells(watched)[:1])

        def run() -> int:
            with opened(browser, url) as tab:
                tab.run_cells(1, "sent")
                tab.until("window.forged")
                acted: int = tab.evaluate(IN_THE_PAGE)
            return acted

        assert await asyncio.to_thread(run) > 1
        await watched.until(REACHED)
        assert STOCK in [one["name"] for one in await stock.ask("GET", "kernels")]
        assert await stock.ask("GET", "terminals") != []
