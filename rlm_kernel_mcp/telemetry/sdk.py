"""Where spans go: OpenTelemetry's SDK with its exporter, as a client's settings have it and nothing of this process.

Is: a provider of a registry's own, which no other part of the process knows of. Is not: a span (`recording.py`). It is
imported in a thread, once spans are wanted: that takes half a second. Above: `spans.py`. Below:
`variables/telemetry.py`, the SDK (the extra `otel`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace import sampling as samplers
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.variables.telemetry import TelemetrySettings, headers_of

QUEUE_SPANS: Final = 2_048
"""That wait to be sent; what is beyond is dropped, and nobody waits for a collector."""
BATCH_SPANS: Final = 512
EXPORT_MS: Final = 30_000


def provider_of(settings: TelemetrySettings) -> TracerProvider:
    """A provider whose spans go to the collector of these settings."""
    provider = TracerProvider(
        sampler=sampler_of(settings),
        # Not `Resource.create`: it would tell of this process what its detectors find.
        resource=Resource({**dict(settings.resource), "service.version": __version__}),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attributes=64, max_span_attribute_length=64_000),
    )
    processor = BatchSpanProcessor(
        _exporter(settings),
        max_queue_size=QUEUE_SPANS,
        schedule_delay_millis=settings.delay_ms,
        max_export_batch_size=BATCH_SPANS,
        export_timeout_millis=EXPORT_MS,
    )
    provider.add_span_processor(processor)
    return provider


def _exporter(settings: TelemetrySettings) -> OTLPSpanExporter:
    session = requests.Session()
    session.trust_env = False  # this process's proxies and `.netrc` may be another client's
    session.max_redirects = 0  # what was to go to one collector goes to no other
    given = {} if settings.headers is None else headers_of(settings.headers.value)
    with _headers_unsaid():
        return OTLPSpanExporter(
            endpoint=settings.url,
            certificate_file=settings.ca_file or None,
            client_key_file=settings.client_key_file or None,
            client_certificate_file=settings.client_certificate_file or None,
            headers=given,
            timeout=settings.timeout_s,
            compression=Compression(settings.compression),
            session=session,
        )


@contextmanager
def _headers_unsaid() -> Iterator[None]:
    """The exporter reads those of the process's environment too, and logs what it does not understand, key and all."""
    parsing, own = logging.getLogger("opentelemetry.util.re"), threading.get_ident()

    def is_another_s(record: logging.LogRecord) -> bool:
        return record.thread != own

    parsing.addFilter(is_another_s)
    try:
        yield
    finally:
        parsing.removeFilter(is_another_s)


def sampler_of(settings: TelemetrySettings) -> samplers.Sampler:
    """Which traces are recorded."""
    name = settings.sampler.removeprefix("parentbased_")
    own: samplers.Sampler = {
        "always_on": samplers.ALWAYS_ON,
        "always_off": samplers.ALWAYS_OFF,
        "traceidratio": samplers.TraceIdRatioBased(settings.ratio),
    }[name]
    return own if name == settings.sampler else samplers.ParentBased(own)
