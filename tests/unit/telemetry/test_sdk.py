"""Where spans go, as a client's settings have it; and what is said where the SDK is not installed."""

from __future__ import annotations

import sys

import pytest

from rlm_kernel_mcp.telemetry.spans import Spans
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
