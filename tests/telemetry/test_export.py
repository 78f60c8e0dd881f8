"""Spans of the real server, as a collector gets them: of whoever wants them, and of nobody else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp import __version__
from tests.mcp.line_client import SERVE, LineClient, data_of
from tests.mcp.own_host import FRONT, OwnHost
from tests.telemetry.collector import Came, Collector, collecting
from tests.unit.telemetry.recorded import require_otel

pytestmark = pytest.mark.slow
CANARY: Final = "CANARY-7d2"
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
META: Final = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
CODE: Final = f"print('{CANARY}', len(context))"


def wants(collector: Collector, wanted: str) -> Mapping[str, str]:
    """What a user sets who wants spans there."""
    return {
        "RLM_OTEL": wanted,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20key",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


@contextmanager
def served(directory: Path, env: Mapping[str, str], argv: tuple[str, ...] = SERVE) -> Iterator[LineClient]:
    directory.mkdir()
    client = LineClient(directory, env, argv, warm=argv == SERVE)
    try:
        client.initialize()
        client.request("tools/list")
        yield client
    finally:
        client.kill()


def whole_session(client: LineClient) -> str:
    """A session with a step, from its opening by a client that has a span of its own to its answer."""
    opening = client.begin("rlm_init_context", {"context_text": f"the text {CANARY}", "question": CANARY}, META)
    session_id: str = data_of(client.result(opening))["session_id"]
    assert client.run(session_id, CODE)["status"] == "ok"
    assert client.run(session_id, f"raise ValueError('{CANARY}')")["status"] == "error"
    client.data("rlm_finalize", session_id=session_id, final_text=CANARY)
    return session_id


def of_session(spans: list[Came], session_id: str) -> dict[str, list[Came]]:
    found: dict[str, list[Came]] = {}
    for span in spans:
        if span.attributes.get("gen_ai.conversation.id") == session_id:
            found.setdefault(span.name, []).append(span)
    return found


def has_ended(session_id: str, spans: list[Came]) -> bool:
    """Whether the last span of a session has come."""
    return "rlm.session" in of_session(spans, session_id)


def test_a_session_is_a_tree_below_the_client_s_span_with_its_texts_where_they_are_wanted(tmp_path: Path) -> None:
    """By the exporter's own variables; of this machine the collector hears nothing."""
    with collecting() as collector, served(tmp_path / "server", wants(collector, "texts")) as client:
        session_id = whole_session(client)
        spans = collector.until(partial(has_ended, session_id))
    (session,), steps = (of_session(spans, session_id)[name] for name in ("rlm.session", "rlm.step"))
    (opened,) = [span for span in spans if span.name == "tools/call rlm_init_context"]
    assert (opened.trace_id, opened.parent_id, session.parent_id) == (TRACE, "b7ad6b7169203331", opened.span_id)
    assert [step.parent_id for step in steps] == [session.span_id] * 2
    assert [step.attributes["rlm.step.status"] for step in steps] == ["ok", "error"]
    calls = [span.span_id for span in spans if span.name == "tools/call rlm_run_repl"]
    assert sorted(link for step in steps for link in step.links) == sorted(calls)
    assert session.attributes["rlm.session.finish_reason"] == "completed"
    for span in spans:
        assert span.resource == {"service.name": "rlm-kernel-mcp", "service.version": __version__}
        assert span.headers["x-key"] == "a key"
    assert [span.name for span in spans if CANARY in str(span.attributes)] == ["rlm.step"] * 2
    assert steps[0].attributes["rlm.step.code"] == CODE


def test_a_collector_that_never_answers_holds_up_no_call_and_no_end(tmp_path: Path) -> None:
    """What cannot be sent is lost, and nobody waits for it."""
    never = threading.Event()
    with collecting(answers=never) as collector:
        env = wants(collector, "on")
        with served(tmp_path / "server", env) as client:
            whole_session(client)
            with collector.changed:
                assert collector.changed.wait_for(lambda: collector.requests > 0, 60)
            whole_session(client)
            assert client.end() == 0


def test_a_host_sends_the_spans_of_each_client_where_that_client_says_and_of_others_nowhere(tmp_path: Path) -> None:
    """Two that want them have collectors of their own; one that does not has no span at all."""
    require_otel()
    host = OwnHost(os.geteuid())
    state = {**host.env, "RLM_STATE_DIR": str(tmp_path / "state")}
    try:
        with collecting() as one, collecting() as other:
            clients = {"one": wants(one, "on"), "other": wants(other, "texts"), "none": {}}
            ids = {}
            for name, env in clients.items():
                with served(tmp_path / name, {**state, **env}, FRONT) as client:
                    ids[name] = whole_session(client)
                    assert host.pid is not None
            for collector, own in ((one, ids["one"]), (other, ids["other"])):
                spans = collector.until(partial(has_ended, own))
                sessions = {span.attributes.get("gen_ai.conversation.id") for span in spans}
                assert sessions - {None} == {own}
            assert CANARY not in str([span.attributes for span in one.spans])
    finally:
        host.end()


def test_what_was_to_go_to_one_collector_goes_to_no_other() -> None:
    """A redirect is not followed: it would take the headers along."""
    with collecting() as other, collecting(redirect=f"{other.url}/v1/traces") as first:
        from rlm_kernel_mcp.telemetry.recording import Recording
        from rlm_kernel_mcp.telemetry.sdk import provider_of
        from rlm_kernel_mcp.variables.telemetry import TelemetrySettings

        recording = Recording(provider_of(TelemetrySettings(is_on=True, url=f"{first.url}/v1/traces")), has_texts=False)
        recording.tracer.start_span("one").end()
        recording.end()
        assert first.requests > 0
        assert (other.requests, other.spans) == (0, [])
