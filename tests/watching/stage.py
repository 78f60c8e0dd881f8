"""A server of a test's own that plays a live page's messages as they are written.

Is: the page's files under the headers of the real one, and streams that a test tells what to say. Is not: the product's
server: what that says of a real session is tested with it.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.parts import ROOT

STATIC: Final = ROOT / "rlm_kernel_mcp" / "watching" / "static"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Message = dict[str, Any]
WAIT_S: Final = 60


@dataclass
class Play:
    """What one session's stream says."""

    messages: list[Message] = field(default_factory=list)
    """At once."""
    later: queue.Queue[Message | None] = field(default_factory=queue.Queue)
    """As a test puts it; None: the connection breaks."""
    ends: bool = True
    says_all_again: bool = False
    """Whoever comes back after an id is told everything."""
    resumed_after: list[str | None] = field(default_factory=list)
    """The last id of each connection."""


@dataclass
class Stage:
    """The server, and what it answers."""

    address: str
    plays: dict[str, Play] = field(default_factory=dict)
    rows: list[Message] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    """By the last part of the path: `text`, `map`, `documents`, `files`. A function is called with the query."""
    asked: list[str] = field(default_factory=list)
    """Paths of every request."""
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    stage = Stage(f"http://127.0.0.1:{server.server_address[1]}/")
    server.stage = stage  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        stage.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """The tests say what they want to know."""

    def do_GET(self) -> None:
        stage: Stage = self.server.stage  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        stage.asked.append(url.path)
        parts = url.path.strip("/").split("/")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if parts == ["api", "sessions"]:
            self._reply(json.dumps({"sessions": stage.rows, "older": 0, "damaged": 0}).encode(), "application/json")
        elif parts[:2] == ["api", "sessions"]:
            self._stream(stage, [], Play(ends=False))
        elif parts[:2] == ["api", "s"] and parts[3:] == ["events"]:
            play = stage.plays.get(parts[2], Play())
            after = query.get("after") or self.headers.get("Last-Event-ID")
            play.resumed_after.append(after)
            messages = [*play.messages] if play.says_all_again else [*_after(play.messages, after)]
            self._stream(stage, messages, play)
        elif parts[:2] == ["api", "s"] and parts[3] in stage.answers:
            answer = stage.answers[parts[3]]
            self._reply(json.dumps(answer(query) if callable(answer) else answer).encode(), "application/json")
        else:
            self._file(url.path)

    def _file(self, path: str) -> None:
        file = STATIC / (path.lstrip("/") or "index.html")
        if file.suffix not in TYPES or not file.is_file():
            self._reply(b"", "text/plain", 404)
        else:
            self._reply(file.read_bytes(), TYPES[file.suffix])

    def _reply(self, body: bytes, kind: str, status: int = 200) -> None:
        self._head(status, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: int, kind: str, more: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8", **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, stage: Stage, messages: Iterable[Message], play: Play) -> None:
        self.close_connection = True
        self._head(200, "text/event-stream", {"Connection": "close"})
        self._say(b"retry: 50\n\n")
        for message in messages:
            self._tell(message)
        if play.ends:
            return
        while not stage.closing.is_set():
            try:
                told = play.later.get(timeout=0.1)
            except queue.Empty:
                if not self._say(b": \n\n"):
                    return
                continue
            if told is None or not self._tell(told):
                return

    def _tell(self, message: Message) -> bool:
        events = [*message.get("events", []), message.get("event", {})]
        number = max((event["id"] for event in events if event), default=None)
        head = f"id: {number}\n" if number else ""
        return self._say(f"{head}data: {json.dumps(message)}\n\n".encode("ascii"))

    def _say(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            return False
        return True


def _after(messages: Iterable[Message], after: str | None) -> Iterator[Message]:
    """Those that are newer, and whatever has no id."""
    for message in messages:
        if after is None or "events" not in message:
            yield message
        else:
            newer = [event for event in message["events"] if int(event["id"]) > int(after)]
            if newer:
                yield {**message, "events": newer}
