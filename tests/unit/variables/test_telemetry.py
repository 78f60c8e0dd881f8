"""What a user switches on with RLM_OTEL, and what OpenTelemetry's own variables say beside it."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.front.front import ASKS_MORE, PASSED_ON
from rlm_kernel_mcp.front.needed import heard
from rlm_kernel_mcp.session.callers.profiles import profile_of
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.variables.telemetry import NO_TELEMETRY, TelemetrySettings, headers_of

OF_OTHERS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
}
"""What many set for all that they start."""


def settings(**environ: str) -> TelemetrySettings:
    return load_settings("/", {"HOME": "/", **environ}).telemetry


def test_nothing_is_switched_on_by_variables_that_are_other_programs_too() -> None:
    """Not the spans, and not their texts."""
    assert settings(**OF_OTHERS) == NO_TELEMETRY
    assert settings(RLM_OTEL="off", **OF_OTHERS) == NO_TELEMETRY
    assert not settings(RLM_OTEL="on", **OF_OTHERS).has_texts
    assert settings(RLM_OTEL="texts", **OF_OTHERS).has_texts


def test_a_variable_that_is_empty_is_as_one_that_is_not_set() -> None:
    empty = {
        f"OTEL_{name}": " " for name in ("TRACES_EXPORTER", "SERVICE_NAME", "TRACES_SAMPLER", "BSP_SCHEDULE_DELAY")
    }
    empty |= {f"OTEL_EXPORTER_OTLP_TRACES_{name}": " " for name in ("ENDPOINT", "TIMEOUT", "PROTOCOL", "COMPRESSION")}
    assert settings(RLM_OTEL="on", **empty) == settings(RLM_OTEL="on")
    assert settings(RLM_OTEL="on", OTEL_EXPORTER_OTLP_TIMEOUT="2", **empty).timeout_s == 2.0


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "True"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_what_switches_every_program_s_spans_off_switches_ours_off(off: dict[str, str]) -> None:
    assert settings(RLM_OTEL="on", **off) == NO_TELEMETRY


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example/otlp/"}, "https://c.example/otlp/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d:1/x"},
            "http://d:1/x",
        ),
    ],
)
def test_they_go_where_the_exporter_s_variables_say(environ: dict[str, str], url: str) -> None:
    assert settings(RLM_OTEL="on", **environ).url == url


def test_the_rest_of_the_exporter_s_variables_is_read_those_for_traces_first() -> None:
    found = settings(
        RLM_OTEL="on",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=none",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="api-key=secret%20key",
        OTEL_EXPORTER_OTLP_TIMEOUT="2.5",
        OTEL_BSP_SCHEDULE_DELAY="250",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_CERTIFICATE="/ca.pem",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.25",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other, team=a%20b,wrong,=x",
        OTEL_SERVICE_NAME="mine",
    )
    assert (found.headers and found.headers.value, found.timeout_s, found.compression) == (
        "api-key=secret%20key",
        2.5,
        "gzip",
    )
    assert (found.delay_ms, settings(RLM_OTEL="on").delay_ms) == (250, 5_000)
    assert (found.ca_file, found.sampler, found.ratio) == ("/ca.pem", "parentbased_traceidratio", 0.25)
    assert dict(found.resource) == {"service.name": "mine", "team": "a b"}
    assert "secret" not in repr(found)
    assert "secret" not in repr(settings(RLM_OTEL="on", OTEL_EXPORTER_OTLP_ENDPOINT="http://u:secret@c"))


def test_headers_are_pairs_whose_values_may_be_written_as_in_an_address() -> None:
    """Those too that the SDK does not understand: it would log them, with the key that they hold."""
    assert headers_of("") == {}
    text = 'Api-Key=a%20b=c, authorization=Basic "x;y\\z" ,,'
    assert headers_of(text) == {"api-key": "a b=c", "authorization": 'Basic "x;y\\z"'}


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "spans go out by otlp, or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "by http/protobuf alone"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is not an address"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:key@:99999"}, "is not an address"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318?a=key"},
            "ENDPOINT has more in it than scheme, host, port and path",
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x#key"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT has more"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:key@c d"}, "OTEL_EXPORTER_OTLP_ENDPOINT is not an address"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a key"}, "is not a list of name=value"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "x-a=a%0akey"}, "printable ASCII"),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x a=key"}, "OTEL_EXPORTER_OTLP_TRACES_HEADERS .* printable ASCII"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "number of seconds up to 3600"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0"}, "^OTEL_EXPORTER_OTLP_TRACES_TIMEOUT='0' is not"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "^OTEL_EXPORTER_OTLP_TRACES_PROTOCOL='grpc': "),
        ({"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "br"}, "^OTEL_EXPORTER_OTLP_TRACES_COMPRESSION='br' is not"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"}, "number of seconds up to 3600"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-1"}, "number of milliseconds up to 3600000"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "br"}, "known values: none, gzip, deflate"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "known values: always_on"),
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "not a number from 0 to 1"),
        ({"RLM_OTEL": "yes"}, "known values: off, on, texts"),
    ],
)
def test_what_is_wrong_is_refused_at_the_start_with_what_would_be_right(environ: dict[str, str], says: str) -> None:
    """And without an address, which may hold a key."""
    with pytest.raises(InvalidInput, match=says) as refused:
        settings(**{"RLM_OTEL": "on", **environ})
    assert "key" not in refused.value.message
    assert not environ.keys() - {"RLM_OTEL"} or settings(**{**environ, "RLM_OTEL": "off"}) == NO_TELEMETRY


def test_clients_whose_spans_go_elsewhere_share_no_registry() -> None:
    """So that a host sends nobody's spans where another one's go."""
    own, other = ({"RLM_OTEL": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{name}:4318"} for name in "ab")
    profiles = {profile_of(load_settings("/", {"HOME": "/", **one})) for one in (own, other, {}, own)}
    assert len(profiles) == 3


@pytest.mark.parametrize(("wanted", "hears"), [("off", False), ("on", True), ("texts", True), ("nonsense", False)])
def test_a_host_hears_of_the_exporter_s_variables_only_from_a_client_that_wants_spans(
    wanted: str, *, hears: bool
) -> None:
    """They may hold a key."""
    environ = {"RLM_OTEL": wanted, **OF_OTHERS}
    assert ASKS_MORE & environ.keys()
    passed = {name for name in environ if name.startswith(heard(PASSED_ON, environ))}
    assert passed == {"RLM_OTEL", *(OF_OTHERS if hears else ())}
