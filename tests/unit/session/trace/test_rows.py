"""What a step's row says of it to whoever asks for its report later."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.trace.rows import outcome_of
from rlm_kernel_mcp.store.store import EventRow, Store


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("", "the server that ran this step ended before the step did"),
        (
            '{"asks": 3}',
            (
                "the server that ran this step ended before the step did; its questions' answers are kept, and the "
                "same code asks for the rest alone"
            ),
        ),
    ],
    ids=["plain", "asking"],
)
def test_a_step_whose_server_was_killed_says_what_of_it_stays(tmp_path: Path, extra: str, reason: str) -> None:
    """Who answered its questions need not do so again."""
    row = EventRow("s_1", "", 1, "run_repl", "mcp", "unknown", "x", 0, "{}")
    row.extra = extra
    with closing(Store.open(tmp_path)) as store:
        outcome = outcome_of(row, store.displays)
    assert outcome.status == "kernel_died"
    assert outcome.lost is not None
    assert outcome.lost.reason == reason
