"""`rlm-kernel-mcp watch` in a process of its own, and a reader of its streams as a browser is one.

Is: the process, its address, one request or stream over a real socket, every wait bounded; the benchmark's too. Is not:
a browser (`tests/watching/`), or anything of pytest's.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.mcp.line_client import WAIT_S

WATCH: Final = (sys.executable, "-I", "-m", "rlm_kernel_mcp", "watch")


class Stream:
    """One reader of a stream."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response
        self.status = response.status
        self.last_id = ""
        self.seen: list[dict[str, Any]] = []

    def messages(self, within_s: float = math.inf) -> Iterator[dict[str, Any]]:
        """What it is told, up to its end. `within_s`: how long it may be told nothing but that the server lives."""
        end_s = time.monotonic() + within_s
        while line := self._response.readline():
            assert time.monotonic() < end_s, f"nothing was told: {[message['type'] for message in self.seen]}"
            if line.startswith(b"id: "):
                self.last_id = line[4:].decode().strip()
            elif line.startswith(b"data: "):
                self.seen.append(json.loads(line[6:]))
                yield self.seen[-1]
                end_s = time.monotonic() + within_s

    def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type with these fields. Each wait for more is bounded."""
        for message in self.messages(WAIT_S):
            if message["type"] == kind and fields.items() <= message.items():
                return message
        raise AssertionError(f"{kind} with {fields} was not told: {[message['type'] for message in self.seen]}")

    def until_printed(self, text: str) -> None:
        """Return when a step has printed something."""
        printed = ""
        while text not in printed:
            printed += self.until("output")["text"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that it was told."""
        found: list[dict[str, Any]] = []
        for message in self.seen:
            found += message["events"] if message["type"] == "events" else ()
            found += [message["event"]] if message["type"] == "event" else []
        return found

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class Page:
    """The process, from its start on."""

    def __init__(self, env: Mapping[str, str], log: Path, port: int = 0) -> None:
        """`log`: where its stderr goes."""
        self._streams: list[Stream] = []
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*WATCH, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **env},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()
        if not self.address:
            raise AssertionError(f"it has printed no address: {log.read_text(encoding='utf-8')}")
        self.port = urlsplit(self.address).port or 0
        status, headers, _ = self.raw(urlsplit(self.address).path)
        assert status == 303
        self.base = headers["location"]
        self.cookie = headers["set-cookie"].partition(";")[0]

    def raw(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer. Underscores of names become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): one for name, one in headers.items()})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The same below the page, for who was let in."""
        return self.raw(self.base + path, cookie=self.cookie, **headers)

    def json(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def stream(self, path: str, after: str = "") -> Stream:
        """A stream, from its beginning or after an id."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        headers = {"Cookie": self.cookie, **({"Last-Event-ID": after} if after else {})}
        connection.request("GET", self.base + path, headers=headers)
        self._streams.append(Stream(connection, connection.getresponse()))
        return self._streams[-1]

    def follow(self, session_id: str, after: str = "") -> Stream:
        return self.stream(f"api/s/{session_id}/events", after)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def end(self) -> int:
        """End it as a shell does; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        """End it, and every stream that was read of it."""
        self.kill()
        for stream in self._streams:
            stream.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
