"""A collector of OTLP over HTTP, on a port of this machine: it takes spans as they come and says what it has.

Is: a server in a thread, with waits for what has come. Is not: a test, or a tenth of a collector.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.unit.telemetry.recorded import require_otel

WAIT_S: Final = 60.0


@dataclass(frozen=True)
class Came:
    """One span, and what came with it."""

    name: str
    attributes: Mapping[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    resource: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass
class Collector:
    """What it has by now."""

    url: str
    spans: list[Came] = field(default_factory=list)
    requests: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def until(self, has: Callable[[list[Came]], bool]) -> list[Came]:
        """Wait until what has come is so; returns all of it."""
        with self.changed:
            assert self.changed.wait_for(lambda: has(self.spans), WAIT_S), [span.name for span in self.spans]
            return list(self.spans)


@contextmanager
def collecting(*, redirect: str = "", answers: threading.Event | None = None) -> Iterator[Collector]:
    """A collector. `redirect`: where it sends whoever comes, taking nothing; `answers`: it waits for this first."""
    require_otel()
    collector = Collector("")

    class Handling(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with collector.changed:
                collector.requests += 1
                collector.changed.notify_all()
            if answers is not None:
                answers.wait(WAIT_S)
            if redirect:
                self.send_response(307)
                self.send_header("Location", redirect)
                self.end_headers()
                return
            found = _spans(body, dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()
            with collector.changed:
                collector.spans += found
                collector.changed.notify_all()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name there)
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handling)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, name="collector")
    serving.start()
    try:
        yield collector
    finally:
        if answers is not None:
            answers.set()
        server.shutdown()
        serving.join(WAIT_S)
        server.server_close()


def _spans(body: bytes, headers: Mapping[str, str]) -> list[Came]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    asked = ExportTraceServiceRequest()
    asked.ParseFromString(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
    return [
        Came(
            span.name,
            _attributes(span.attributes),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            tuple(link.span_id.hex() for link in span.links),
            _attributes(of.resource.attributes),
            {name.lower(): value for name, value in headers.items()},
        )
        for of in asked.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
