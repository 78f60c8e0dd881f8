"""A headless Chromium that opens one page at a time, and what the page asked for and ran.

Is: DevTools' protocol over a pipe, so that no port is open, and a browser that finds no other machine whatever a page
names. Is not: a test, nor a driver of pages: nothing in one is clicked, and no script of ours runs in it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

WAIT_S: Final = 60
"""Guards against a browser that hangs; nothing is measured by it."""
BLOCK_BYTES: Final = 1 << 16
FLAGS: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it needs rights that CI's root has not, or a user other than root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
)
NOWHERE: Final = "--host-resolver-rules=MAP * ~NOTFOUND"
WITH_ENDS: Final = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 10) for number in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts a program with the two ends of its pipes where it looks for them."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of one page, by the browser's own account."""

    requested: tuple[str, ...]
    """Addresses that it asked the network for, beside its own; what its policy blocked never got so far."""
    blocked: tuple[str, ...]
    """Addresses that its policy blocked."""
    scripts: tuple[str, ...]
    """Addresses of the scripts that were compiled; of those in the page itself that of the page."""
    dialogs: tuple[str, ...]
    """What scripts had a person asked or told."""
    frames: int
    """Pages within it."""
    html: str
    """As it stood in the end."""


class Chromium:
    """One browser."""

    def __init__(self, process: subprocess.Popen[bytes], reads: int, writes: int) -> None:
        self._process, self._reads, self._writes = process, reads, writes
        self._received = bytearray()
        self._number = 0
        self._events: list[Event] = []

    def visit(self, page: Path) -> Visit:
        """Open a page in a tab of its own, wait until all that it names has come or failed, and have it painted."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Debugger", "DOM"):
            self._ask(f"{domain}.enable", session)
        self._events.clear()
        address = page.as_uri()
        self._ask("Page.navigate", session, url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()
        self._ask("Page.captureScreenshot", session)  # what only styles name is asked for where it is painted
        root = self._ask("DOM.getDocument", session)["root"]["nodeId"]
        html: str = self._ask("DOM.getOuterHTML", session, nodeId=root)["outerHTML"]
        events = [event for event in self._events if event.get("sessionId") == session]
        self._ask("Target.closeTarget", targetId=target)
        return _visit(events, address, html)

    def close(self) -> None:
        """End it, and those of its processes that write into its profile until they notice."""
        ours: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            ours = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for one in ours:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait(WAIT_S)
        psutil.wait_procs(ours, WAIT_S)
        os.close(self._reads)
        os.close(self._writes)

    def _ask(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        number = self._send(method, session, parameters)
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result

    def _send(self, method: str, session: str | None, parameters: dict[str, object]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {} if session is None else {"sessionId": session}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writes, data) :]
        return self._number

    def _receive(self) -> dict[str, Any]:
        """The next message; an event is kept, and a dialog is closed, since the page stands still until then."""
        deadline = time.monotonic() + WAIT_S
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium says nothing"
            block = os.read(self._reads, BLOCK_BYTES)
            assert block, "Chromium has ended"
            self._received += block
        end = self._received.index(0)
        message: dict[str, Any] = json.loads(self._received[:end])
        del self._received[: end + 1]
        if "method" in message:
            self._events.append(message)
            if message["method"] == "Page.javascriptDialogOpening":
                self._send("Page.handleJavaScriptDialog", message["sessionId"], {"accept": False})
        return message


def _visit(events: list[Event], address: str, html: str) -> Visit:
    said = [(event["method"], event["params"]) for event in events]
    asked = {of["requestId"]: of["request"]["url"] for name, of in said if name == "Network.requestWillBeSent"}
    blocked = {of["requestId"] for name, of in said if name == "Network.loadingFailed" and of.get("blockedReason")}
    outside = {number: url for number, url in asked.items() if url != address and not url.startswith("data:")}
    return Visit(
        tuple(url for number, url in outside.items() if number not in blocked),
        tuple(url for number, url in outside.items() if number in blocked),
        tuple(of["url"] for name, of in said if name == "Debugger.scriptParsed"),
        tuple(of["message"] for name, of in said if name == "Page.javascriptDialogOpening"),
        sum(name == "Page.frameAttached" for name, _ in said),
        html,
    )


@contextmanager
def started(program: Path, profile: Path, *, reaches: str | None = None) -> Iterator[Chromium]:
    """A browser with a profile of its own, which finds no machine but `reaches`."""
    reads, theirs_to_write = os.pipe()
    theirs_to_read, writes = os.pipe()
    ends = (theirs_to_read, theirs_to_write)
    rule = NOWHERE if reaches is None else f"{NOWHERE}, EXCLUDE {reaches}"
    options = (rule, f"--user-data-dir={profile}", "about:blank")
    command = [sys.executable, "-I", "-S", "-c", WITH_ENDS, *map(str, ends), str(program), *FLAGS, *options]
    try:
        process = subprocess.Popen(
            command,
            env={"HOME": str(profile), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=ends,
        )
    finally:
        for end in ends:
            os.close(end)
    browser = Chromium(process, reads, writes)
    try:
        yield browser
    finally:
        browser.close()
