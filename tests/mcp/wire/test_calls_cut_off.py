"""A short form of `bin/soak calls`: calls cut off at random moments over the wire leave a server as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.soaks import calls

SEED: Final = 7


@pytest.mark.slow
def test_calls_cut_off_at_random_leave_the_server_as_it_was(tmp_path: Path) -> None:
    """Descriptors, processes, locks, directories, snapshots, disk, and the sessions that are live."""
    table = calls.run(tmp_path, 10, SEED, print)
    assert calls.leaks(table) == [], table
    assert table["cut off"] > 0
