"""`rlm-kernel-mcp lab` as a person has it, beside a server whose sessions it shows.

Is: the real program in the environment with JupyterLab, and sessions of a registry in the test's own process. Is not:
a browser (`browsing.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.lab.home import WAIT_S, Home
from tests.lab.lab_server import LabKernel, LabServer
from tests.sessions import SessionDriver

ADDRESS: Final = re.compile(r"(http://127\.0\.0\.1:\d+/)lab\?token=([0-9a-f]{32,})")
"""As the server says where it listens, with the token that it made."""


class LiveServer(LabServer):
    """A running `rlm-kernel-mcp lab`."""

    async def status(
        self, method: str, path: str, /, headers: Mapping[str, str] | None = None, **body: Any
    ) -> tuple[int, str]:
        """One request, whatever comes of it: status and body. `headers`: in place of the token."""
        request = HTTPRequest(
            f"{self.url}{path}",
            method=method,
            headers=dict(self.headers if headers is None else headers),
            body=json.dumps(body) if method in ("POST", "PUT", "PATCH") else None,
            request_timeout=WAIT_S,
            follow_redirects=False,
        )
        response = await AsyncHTTPClient().fetch(request, raise_error=False)
        return response.code, response.body.decode("utf-8", "replace")

    async def listed(self) -> dict[str, dict[str, Any]]:
        """The kernels that it has, by their ids."""
        return {one["id"]: one for one in await self.ask("GET", "kernels")}

    async def until_listed(self, kernel_id: str, *, there: bool = True) -> None:
        """Wait until a kernel is in the list, or is not any more."""
        async with asyncio.timeout(WAIT_S):
            while (kernel_id in await self.listed()) is not there:
                pass

    @asynccontextmanager
    async def page_on(self, driver: SessionDriver) -> AsyncIterator[LabKernel]:
        """A page's connection to a session's kernel."""
        kernel_id = kernel_id_of(driver)
        await self.until_listed(kernel_id)
        page = LabKernel(self, kernel_id)
        await page.connect()
        try:
            yield page
        finally:
            page.close()


def kernel_id_of(driver: SessionDriver) -> str:
    """Under which a session's kernel is listed: pages show the part before the first hyphen."""
    return f"{driver.session_id}-live-rlm-session-kernel"


def home_with(home: Home, **variables: str) -> Home:
    """The same home, with more in the environment."""
    return Home(home.directory, {**home.env, **variables})


@asynccontextmanager
async def live_server(home: Home, state_dir: Path, *arguments: str) -> AsyncIterator[LiveServer]:
    """The server of this home's user, over the sessions of a state directory; ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *home.command("rlm-kernel-mcp", "lab", "--no-browser", *arguments),
        env={**home.env, "RLM_STATE_DIR": str(state_dir)},
        cwd=home.directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, said))
    try:
        async with asyncio.timeout(WAIT_S):
            url, token = (await said).groups()
            server = LiveServer(url, token)
            while not await server.listens():
                pass
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(reading, process.wait())


async def _read(process: asyncio.subprocess.Process, said: asyncio.Future[re.Match[str]]) -> None:
    """Read what the server says, to its end; where it listens is in it."""
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode("utf-8", "replace")
        print(text, end="")
        found = ADDRESS.search(text)
        if found is not None and not said.done():
            said.set_result(found)
    if not said.done():
        said.set_exception(AssertionError("rlm-kernel-mcp lab ended before it listened"))
