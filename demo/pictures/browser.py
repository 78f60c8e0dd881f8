"""What a person sees of JupyterLab on the kernel of an agent's session, in headless Chromium.

Is: the program `lab`, a notebook on the session's kernel, and two cells of the person's. Is not: the pages that are one
file (`makers.py`). Above: `makers.py`. Below: what the tests of `lab` drive it with.
"""

from __future__ import annotations

import asyncio
import base64
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.api import Session
from tests.lab.chromium import started
from tests.lab.home import Home
from tests.lab.live.browsing import SETTLED, Tab, notebook
from tests.lab.live.serving import live_server
from tests.parts import chromium, lab_python

CELLS: Final = ("sorted(often.items(), key=lambda one: one[1])[-1]", "hits[0]")
"""Over what the agent's steps have bound."""
LAST: Final = "timeout E42"
"""What the second one shows."""


def jupyterlab(session: Session, directory: Path, env: dict[str, str]) -> bytes:
    """Its page, as PNG."""
    return asyncio.run(_shown(session.session_id, directory, env))


async def _shown(session_id: str, directory: Path, env: dict[str, str]) -> bytes:
    home = Home(directory, {**env, "PATH": f"{lab_python().parent}:{os.environ['PATH']}"})
    async with live_server(home, Path(env["RLM_STATE_DIR"])) as server:
        kernel = f"{session_id}-live-rlm-session-kernel"
        await server.until_listed(kernel)
        url = await notebook(server, "incident.ipynb", {"id": kernel}, CELLS)
        return await asyncio.to_thread(_pictured, url)


def _pictured(url: str) -> bytes:
    with (
        tempfile.TemporaryDirectory(prefix="rlm-pictures-") as profile,
        started(chromium(), Path(profile), reaches="127.0.0.1") as browser,
        closing(Tab(browser)) as tab,
    ):
        tab.open(url)
        tab.until("document.body.innerText.includes('| Idle')")
        tab.run_cells(len(CELLS), LAST)
        tab.evaluate(SETTLED)
        return base64.b64decode(tab._ask("Page.captureScreenshot")["data"])
