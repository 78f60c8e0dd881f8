"""JupyterLab's page in headless Chromium, driven as a person drives it; and a port at which nothing may knock.

Is: DevTools' protocol over `tests/lab/chromium.py`: one tab, real clicks, and waits for what the page shows. Is not: a
test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.lab.chromium import Chromium
from tests.lab.home import LOCKED, WAIT_S
from tests.lab.lab_server import LabServer

WIDTH: Final = 1_300
HEIGHT: Final = 850
RUN: Final = '[data-command="notebook:run-cell-and-select-next"]'
OUTPUTS: Final = "[...document.querySelectorAll('.jp-OutputArea-output')].map(one => one.textContent).join('\\n')"
SETTLED: Final = (
    "new Promise(done => requestAnimationFrame(() => requestAnimationFrame("
    "() => fetch('/api/status').then(() => fetch('/api/status')).then(() => done(true)))))"
)
"""Twice drawn and twice asked since: what the page asks for where it draws something was asked for before."""


class Tab:
    """One page, in which a person works."""

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser
        self._target = browser._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser._ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime"):
            self._ask(f"{domain}.enable")
        self._ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        """Leave the page."""
        self._browser._ask("Target.closeTarget", targetId=self._target)

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser._ask(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Go there, and wait until all that the page names has come."""
        self._browser._events.clear()
        self._ask("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._browser._events):
            self._browser._receive()

    def evaluate(self, expression: str) -> Any:
        """What an expression is in the page, and what it promises."""
        said = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until something is so in the page."""
        self.evaluate(
            "new Promise(done => { const timer = setInterval(() => { "
            f"if ({condition}) {{ clearInterval(timer); done(true) }} }}, 20) }})"
        )

    def click(self, selector: str) -> None:
        """Click in the middle of the first such element that can be seen, once there is one."""
        boxes = f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.getBoundingClientRect())"
        box = f"{boxes}.find(one => one.width > 0)"
        self.until(box)
        x, y = self.evaluate(f"(one => [one.x + one.width / 2, one.y + one.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def run_cells(self, count: int, last: str) -> None:
        """Run the first cells of the notebook, one after the other, and wait for what the last one shows."""
        for _ in range(count):
            self.click(RUN)
        self.until(f"({OUTPUTS}).includes({json.dumps(last)})")
        self.evaluate(SETTLED)


async def notebook(server: LabServer, name: str, kernel: dict[str, str], cells: Sequence[str]) -> str:
    """A notebook of these cells with a kernel; the address of its page, which shows nothing else."""
    written: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "source": code,
            "outputs": [],
            "execution_count": None,
        }
        for number, code in enumerate(cells)
    ]
    spec = {"name": LOCKED, "display_name": "Python (RLM, locked down)", "language": "python"}
    content = {"cells": written, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    await server.ask("PUT", f"contents/{name}", type="notebook", format="json", content=content)
    await server.ask("POST", "sessions", path=name, name=name, type="notebook", kernel=kernel)
    return f"{server.url}lab/workspaces/{name.partition('.')[0]}/tree/{name}?token={server.token}"


class Canary:
    """A port that notes who asks it for what."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = set[str]()
        """Paths, without the slash."""
        self._news = asyncio.Condition()

    async def until(self, paths: Collection[str]) -> None:
        """Wait until all of these were asked for."""
        async with asyncio.timeout(WAIT_S), self._news:
            await self._news.wait_for(lambda: self.heard >= {*paths})

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note what is asked for, and send nothing."""
        line = (await reader.readline()).decode("latin-1").split()
        async with self._news:
            self.heard.add(line[1].lstrip("/") if len(line) > 1 else "")
            self._news.notify_all()
        writer.write(b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n")
        writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """One that listens on this machine."""
    made = Canary()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
