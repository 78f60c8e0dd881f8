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
from tests.lab.lab_server import LabKernel, LabServer, listening, until_it_answers
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
    command = home.command("rlm-kernel-mcp", "lab", "--no-browser", *arguments)
    async with listening(command, {**home.env, "RLM_STATE_DIR": str(state_dir)}, home.directory, ADDRESS) as said:
        server = LiveServer(*said.groups())
        await until_it_answers(server)
        yield server
