"""Spans that are recorded in memory, as a test reads them.

Is: the SDK's own exporter for tests, and a span by its name. Is not: a test, nor a collector.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlm_kernel_mcp.telemetry.spans import Spans
from tests.parts import skip_for_lack_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


def require_otel() -> None:
    """Skips the test that asks where OpenTelemetry's SDK is not installed."""
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        skip_for_lack_of("OpenTelemetry's SDK", "bin/setup --with otel")


class InMemory:
    """Spans of a registry that go nowhere."""

    def __init__(self, *, has_texts: bool = False, spans: Spans | None = None) -> None:
        require_otel()
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from rlm_kernel_mcp.telemetry.recording import Recording

        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = spans or Spans()
        self.spans.record_with(Recording(provider, has_texts=has_texts))

    @property
    def ended(self) -> list[ReadableSpan]:
        """Those that have ended, the first first."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def is_below(span: ReadableSpan, other: ReadableSpan) -> bool:
    """Whether it is directly below the other."""
    assert other.context is not None
    return span.parent is not None and span.parent.span_id == other.context.span_id
