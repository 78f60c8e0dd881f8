"""What a session has of itself when its record is all that there is, and no kernel."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.policy import load_policy
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.reopening import ServerResources, reopen
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.store import SessionRecord, Store
from tests.fake_kernel import Fakes
from tests.parts import ROOT

NO_PART: Final = cast(Any, None)
"""Of a server that no kernel can be had from."""
CONTEXT: Final = ContextReport("text", 1, 1, 1, "0" * 64, "x", "", (), 1)


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ({"inline": True, "names": ["context", "search"]}, ["context", "search"]),
        ({"inline": True}, ["context", "documents", "scratch"]),
    ],
    ids=["a record of today", "a record from before records had the names"],
)
def test_the_names_of_a_session_are_told_though_no_kernel_can_be_had(
    tmp_path: Path, reference: dict[str, Any], names: list[str]
) -> None:
    """They are the kernel's to say; the record remembers them for the time when there is none."""
    session = reopened(tmp_path, json.dumps(asdict(CONTEXT)), reference)
    lost = session.kernel.recovery.everything_lost("no kernel").names
    assert [name for name, _ in lost] == names


def reopened(state_dir: Path, context: str, reference: dict[str, Any]) -> Session:
    """The session of a record that has this context."""
    store = Store.open(state_dir)
    try:
        limits = json.dumps(asdict(Guardrails(1, 1, 1, 1)))
        record = SessionRecord("s_1", "2026", "text", "idle", limits, context, json.dumps(reference))
        settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": str(state_dir)})
        policy = load_policy(ROOT / "kernelspecs" / "rlm-python" / "policy.json")
        return reopen(record, ServerResources(settings, policy, NO_PART, NO_PART, store, NO_PART))
    finally:
        store.close()


@pytest.mark.parametrize(("first", "count", "skipped"), [([], 0, {}), (["a: hidden", "b: binary"], 2, {"other": 2})])
def test_a_record_from_before_what_was_left_out_had_kinds_is_no_damaged_one(
    tmp_path: Path, first: list[str], count: int, skipped: dict[str, int]
) -> None:
    """A list of lines, and how many there were."""
    old = asdict(CONTEXT) | {"skipped": first, "skipped_count": count}
    for name in ("skipped_first", "prefix"):
        del old[name]
    context = reopened(tmp_path, json.dumps(old), {"inline": True}).contexts.contexts.first.report
    assert context is not None
    assert (context.skipped, context.skipped_first) == (skipped, tuple(first))


@pytest.mark.anyio
async def test_a_session_without_wishes_for_sub_calls_has_a_record_that_a_server_of_before_reads(fakes: Fakes) -> None:
    """One may still run beside this one, and takes limits that it does not know for a damaged record."""
    session, _ = await fakes.open()
    store = fakes.registry.store
    record = store.session(session.session_id)
    assert record is not None
    assert list(json.loads(record.limits)) == ["max_steps", "max_runtime_ms", "budget_limit", "step_timeout_ms"]


def test_limits_of_sub_calls_that_are_wished_for_are_recorded() -> None:
    limits = Guardrails(max_subcalls=5, wait_limit_ms=7)
    assert Guardrails(**limits.recorded()) == limits
