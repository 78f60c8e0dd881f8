"""Where spans go, as a client's settings have it; and what is said where the SDK is not installed."""

from __future__ import annotations

import sys

import pytest

from rlm_kernel_mcp.telemetry.spans import Spans
from rlm_kernel_mcp.variables.subcalls import Secret
from rlm_kernel_mcp.variables.telemetry import SAMPLERS, TelemetrySettings
from tests.unit.telemetry.recorded import require_otel

DESCRIBED = {
    "always_on": "AlwaysOnSampler",
    "always_off": "AlwaysOffSampler",
    "traceidratio": "TraceIdRatioBased{0.25}",
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_that_a_user_may_name_is_the_sdk_s(name: str) -> None:
    require_otel()
    from rlm_kernel_mcp.telemetry.sdk import sampler_of

    own = DESCRIBED[name.removeprefix("parentbased_")]
    described = sampler_of(TelemetrySettings(is_on=True, sampler=name, ratio=0.25)).get_description()
    if name.startswith("parentbased_"):
        assert described.startswith(f"ParentBased{{root:{own},")
    else:
        assert described == own


@pytest.mark.anyio
async def test_without_the_sdk_it_is_said_once_what_is_missing_and_all_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server without its extra serves as it did."""
    monkeypatch.setitem(sys.modules, "rlm_kernel_mcp.telemetry.sdk", None)
    spans = Spans(TelemetrySettings(is_on=True))
    await spans.open()
    assert spans.of_session("s_1") is None
    assert "RLM_OTEL is set, and needs the extra otel" in caplog.text
    await spans.close()


def test_headers_of_the_process_s_own_environment_are_in_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server without a host has its client's environment, which the exporter looks into once more."""
    require_otel()
    from opentelemetry.util.re import parse_env_headers

    from rlm_kernel_mcp.telemetry.sdk import provider_of

    text = 'authorization=Basic "a;key"'
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", text)
    provider_of(TelemetrySettings(is_on=True, url="http://localhost:1/v1/traces", headers=Secret(text))).shutdown()
    assert "key" not in caplog.text
    parse_env_headers(text, liberal=True)  # what others have it say is said
    assert "key" in caplog.text
