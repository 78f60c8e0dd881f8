"""The large demo's log holds what is said of it: a reader of the whole finds the same, line by line."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from demo import large_questions
from demo.large_log import write_log


def test_a_plain_reading_of_the_log_finds_what_was_counted_while_it_was_written(tmp_path: Path) -> None:
    """Every line looked at by itself, as no part of the writer does."""
    path = tmp_path / "service.log"
    truth = write_log(path, 12)
    data = path.read_bytes()
    lines = data.decode("ascii").splitlines()
    assert truth.bytes == len(data)
    assert truth.lines == len(lines)
    assert truth.sha256 == hashlib.sha256(data).hexdigest()

    times = [line[:23] for line in lines]
    assert times == sorted(times)
    errors = Counter(line[:13] for line in lines if line[24:29] == "ERROR")
    assert errors == Counter({hour: count for hour, count in truth.errors_by_hour.items() if count})
    assert sum("ERROR" in line for line in lines) > errors.total(), "messages speak of errors too"

    moments = [datetime.fromisoformat(time) for time in times]
    gaps = sorted(
        ((after - before) // timedelta(milliseconds=1), times[place], times[place + 1])
        for place, (before, after) in enumerate(pairwise(moments))
    )
    assert gaps[-1] == truth.gap
    assert truth.gap[0] > gaps[-2][0] > 60_000, "another silence is long, but shorter"

    open_requests: set[str] = set()
    for line in lines:
        words = line.split()
        if words[3] == "request":
            (open_requests.add if words[5] == "begun" else open_requests.remove)(words[4])
    assert sorted(open_requests) == truth.never_ended
    assert len(truth.never_ended) == 1


def test_the_same_seed_writes_the_same_log_and_another_writes_another(tmp_path: Path) -> None:
    """So that what was seen once can be seen again."""
    first, again, other = (write_log(tmp_path / name, 1, seed).sha256 for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first == again != other


def test_a_log_that_finds_no_room_is_refused_with_what_it_needs_and_what_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A million GB, before a byte is written."""
    assert large_questions.main(1_000_000_000) == 1
    said = capsys.readouterr().err
    assert "needs 1,000,000,512 MB free on a disk" in said
    assert "MB free" in said
    assert "Set TMPDIR" in said


def test_a_place_in_memory_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the usual place is memory the log lies on a disk, or the reason is said."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/dev/shm")
    monkeypatch.setattr(large_questions, "PLACES", (None,))
    with pytest.raises(large_questions.NoPlace, match="/dev/shm lies in memory"):
        large_questions.place_for(1)
