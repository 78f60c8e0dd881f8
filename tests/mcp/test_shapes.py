"""Every field of every tool's answer, on a live server: the contract's keys, no more and no fewer, each of its type."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.questions_wire import ASKING
from tests.mcp.line_client import ENDLESS_CALL, LineClient

Shape = dict[str, Any]

COUNTERS: Final[Shape] = {"step_index": int, "runtime_ms": int, "budget_used": int}
ASKED_LIMITS: Final[Shape] = dict.fromkeys(("max_subcalls", "subcall_tokens_limit", "wait_limit_ms"), int)
CONFIG: Final[Shape] = {
    **dict.fromkeys(("max_steps", "max_runtime_ms", "budget_limit", "step_timeout_ms"), int),
    **ASKED_LIMITS,
}
CONTEXT: Final[Shape] = {
    "kind": str,
    "chars": int,
    "lines": int,
    "bytes": int,
    "sha256": str,
    "head": str,
    "tail": str,
    "documents": [{"name": str, "chars": int}],
    "document_count": int,
    "held": str,
    "encodings": {"utf-8": int},
    "undecodable_bytes": int,
    "skipped": {},
    "name": str,
    "state": str,
    "changed": bool,
}
OPENED: Final[Shape] = {
    "session_id": str,
    "config": CONFIG,
    "counters": COUNTERS,
    "context": CONTEXT,
    "namespace": {"context": str, "documents": str, "scratch": str, **dict.fromkeys((*EXPLORING, *ASKING), str)},
    "imports": [str],
    "walls": [str],
    "subcalls": {
        "backend": str,
        "model": (str, None),
        "where": str,
        "parallel": int,
        "depth": int,
        "limits": ASKED_LIMITS,
        "how": str,
    },
}
STEP: Final[Shape] = {
    "status": str,
    "stdout": str,
    "stderr": str,
    "result": (str, None),
    "error": (None, {"ename": str, "evalue": str, "traceback": str}),
    "updated_vars_summary": [{"name": str, "type": str, "size": (int, None)}],
    "step_index": int,
    "duration_ms": int,
    "guardrail_stop": (str, None),
    "budget": dict.fromkeys(
        ("steps_left", "runtime_left_ms", "chars_left", "subcalls_left", "subcall_tokens_left"), int
    ),
    "truncated": {"stdout": int, "stderr": int, "result": int},
    "lost": (None, {"reason": str, "lost": [{"name": str, "why": str}], "restored": [str]}),
    "subcalls": None,
}
VARIABLE: Final[Shape] = {
    "name": str,
    "type": str,
    "size": (int, None),
    "value": object,
    "text": bool,
    "total_chars": int,
    "offset": int,
    "next_offset": (int, None),
    "truncated": bool,
}
FINAL: Final[Shape] = {
    "final_answer": str,
    "final_answer_chars": int,
    "finish_reason": str,
    "stats": {"steps": int, "runtime_ms": int, "budget_used": int, "started_at": str, "finished_at": str},
    "citations": list,
    "coverage": {
        "chars": int,
        "delivered": {"chars": int, "per_cent": float},
        "delivered_by_text": (int, None),
        "searched": int,
        "ranked": int,
        "said_by_kernel": list,
        "cited": int,
        "by_document": list,
        "str_operations": str,
        "changed": bool,
    },
}
EVENT: Final[Shape] = {
    "ts": str,
    "step_index": int,
    "action": str,
    "source": str,
    "result_status": str,
    "summary": str,
    "duration_ms": int,
    "guardrail_snapshot": {
        "step_index": int,
        "max_steps": int,
        "runtime_ms": int,
        "max_runtime_ms": int,
        "budget_used": int,
        "budget_limit": int,
        "subcalls": int,
        "max_subcalls": int,
        "subcall_tokens": int,
        "subcall_tokens_limit": int,
    },
    "functions": {},
}
WHOLE_EVENT: Final[Shape] = {
    **EVENT,
    "code": (str, None),
    "stdout": (str, None),
    "stderr": (str, None),
    "result": (str, None),
    "error": (None, {"ename": str, "evalue": str, "traceback": str}),
}
LIST: Final[Shape] = {
    "sessions": [
        {
            "session_id": str,
            "status": str,
            "created_at": str,
            "last_used_at": str,
            "step_index": int,
            "context": {"kind": str, "chars": int},
            "counters": COUNTERS,
            "connection": (str, None),
        }
    ],
    "omitted": int,
}


FACTS: Final[dict[str, Shape]] = {
    "init_context": {},
    "run_repl": {"printed": dict, "delivered": int, "cost": int},
    "interrupt": {"rung": str, "cause": str},
    "restore": {"restored": [str]},
}
"""What an event has in full beside its texts."""


@pytest.fixture(scope="module")
def client(workers_client: LineClient) -> LineClient:
    """The worker's server."""
    return workers_client


def differences(value: Any, shape: Any, where: str = "data") -> list[str]:
    """Where a JSON value is not what a shape says: a type, None, a tuple of them, all keys of a dict, a list of one."""
    if isinstance(shape, tuple):
        found = [differences(value, one, where) for one in shape]
        return [] if [] in found else min(found, key=len)
    if shape is None or value is None:
        return [] if value is shape or shape is object else [f"{where} is {value!r}"]
    if isinstance(shape, dict) and isinstance(value, dict):
        odd = sorted(shape.keys() ^ value.keys())
        inner = (differences(value[name], shape[name], f"{where}.{name}") for name in shape.keys() & value.keys())
        return [f"{where}.{name}" for name in odd] + [line for lines in inner for line in lines]
    if isinstance(shape, list) and isinstance(value, list):
        return [line for at, item in enumerate(value) for line in differences(item, shape[0], f"{where}[{at}]")]
    if isinstance(shape, type) and isinstance(value, shape) and (shape is not int or type(value) is int):
        return []
    return [f"{where} is {type(value).__name__}"]


def test_every_answer_has_exactly_the_contract_s_fields(client: LineClient) -> None:
    """The fields beside them are named here, each with what brings it."""
    (client.directory / "a.txt").write_text("a document")
    opened = client.data("rlm_init_context", context_paths=["a.txt"])
    assert differences(opened, {**OPENED, "context": {**CONTEXT, "prefix": str}}) == []
    assert differences(client.data("rlm_init_context", context_text="x" * 900), OPENED) == []
    session = {"session_id": opened["session_id"]}
    steps = [
        client.run(**session, code="xs = [1]; n = 5; text = 'é' * 9_000; xs"),
        client.run(**session, code="print('x' * 9_000)\n1 / 0"),
        client.data("rlm_await_step", **session, step_index=1),
    ]
    assert [differences(step, STEP) for step in steps] == [[], [], []]
    idle = client.data("rlm_interrupt", **session)
    assert differences(idle, {**STEP, "note": str}) == []
    running = client.run(**session, code="while True: pass", wait_ms=0)
    assert differences(running, STEP) == []
    assert differences(client.data("rlm_interrupt", **session), STEP) == []
    killed = client.run(**session, code=ENDLESS_CALL, timeout_ms=600)
    assert killed["lost"]["restored"]
    assert differences(killed, STEP) == []
    for name, limit in (("xs", 4_000), ("n", 4_000), ("text", 100)):
        assert differences(client.data("rlm_get_var", **session, var_name=name, limit=limit), VARIABLE) == []
    assert differences(client.data("rlm_list_sessions"), LIST) == []
    assert differences(client.data("rlm_finalize", **session, final_var_name="text"), FINAL) == []
    page = client.data("rlm_get_trace", **session)
    assert {event["action"] for event in page["events"]} == {
        "init_context",
        "run_repl",
        "interrupt",
        "restore",
        "finalize",
    }
    assert differences(page, {"events": [EVENT], "next_offset": (int, None)}) == []
    whole = client.data("rlm_get_trace", **session, detail="full", max_output_chars=200_000)
    last = whole["events"].pop()
    for event in whole["events"]:
        lost = {"lost": [{"name": str, "why": str}]} if "lost" in event else {}
        assert differences(event, WHOLE_EVENT | FACTS[event["action"]] | lost) == []
    assert differences(whole["next_offset"], (int, None)) == []
    checked = {name: FINAL[name] for name in ("citations", "coverage")}
    assert last["action"] == "finalize"
    assert differences(last, WHOLE_EVENT | checked) == []


def test_a_difference_of_shape_is_seen() -> None:
    """The control of the test above."""
    assert differences({"a": 1, "b": None}, {"a": int, "b": (str, None)}) == []
    assert differences({"a": True}, {"a": int}) == ["data.a is bool"]
    assert differences({"a": 1, "c": 2}, {"a": int, "b": int}) == ["data.b", "data.c"]
    assert differences({"a": [{"b": "x"}]}, {"a": [{"b": int}]}) == ["data.a[0].b is str"]
    assert differences({"a": None}, {"a": {"b": int}}) == ["data.a is None"]
