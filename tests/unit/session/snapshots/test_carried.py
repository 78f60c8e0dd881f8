"""A session's values on their way to another node: what others lack of the file, and the same file made of it there."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.untrusted.snapshot_report import KernelReport
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.snapshots import file as snapshot_file
from rlm_kernel_mcp.session.snapshots.carried import (
    INDEX,
    NAME_CHARS_MAX,
    ChangedValues,
    NotAsWritten,
    SentValues,
    bring_in,
    changed,
    look_at,
    value_key,
)
from rlm_kernel_mcp.session.snapshots.file import NO_TIME, SnapshotFile
from tests.unit.kernel.untrusted.test_snapshot_stream import END, chunk, head
from tests.unit.session.snapshots.test_file import LIMITS, keep, receive, values

PLENTY = 1 << 30
Kept = dict[str, bytes]


def opened(directory: Path, name: str) -> SnapshotFile:
    return SnapshotFile(directory / name, "s_1", LIMITS)


def given(file: SnapshotFile, sent: SentValues, kept: Kept, bytes_max: int = PLENTY) -> ChangedValues:
    """Give others what they lack."""
    look = look_at(file, 0)
    try:
        found = changed(look, sent, bytes_max)
    finally:
        look.close()
    for key, body in found.frames:
        kept.pop(key, None)
        kept |= {} if body is None else {key: body}
    return found


def there(directory: Path, kept: Kept, name: str = "there") -> SnapshotFile:
    """The file made of what others have."""
    file = SnapshotFile(directory / name, "s_1", LIMITS, is_new=True)
    file.remove()
    bring_in(file, kept.items())
    again = opened(directory, name)
    assert again.damaged() == set()
    return again


def told(file: SnapshotFile) -> dict[str, tuple[int, str | None]]:
    """Of each name the step, and why there is no value."""
    return {name: (entry.step, entry.why) for name, entry in file.index.entries.items()}


def test_others_have_the_same_values_of_the_same_steps(tmp_path: Path) -> None:
    """Also of names without a value, and of one that was not looked at since."""
    file, kept = opened(tmp_path, "here"), Kept()
    keep(file, 1, {"a": b"1", "b": b"22"})
    received = receive(file, head("b") + chunk(b"new") + END)
    names = dict.fromkeys(("a", "b"), ("int", None)) | {"g": ("generator", "it is none")}
    file.commit(2, KernelReport(names, frozenset({"a"}), more=3), received)
    found = given(file, SentValues(), kept)
    assert found.lacking == frozenset()
    other = there(tmp_path, kept)
    assert values(other) == values(file)
    assert told(other) == told(file) == {"a": (1, None), "b": (2, None), "g": (2, "it is none")}
    assert (other.index.step, other.index.more) == (2, 3)


def test_what_others_have_is_not_given_again(tmp_path: Path) -> None:
    """A step that changes nothing gives the step alone; one that changes one name gives that; none gives nothing."""
    file, kept = opened(tmp_path, "here"), Kept()
    keep(file, 1, {"a": b"1", "b": b"2"})
    sent = given(file, SentValues(), kept).sent
    assert given(file, sent, kept).frames == ()
    file.advance(2)
    found = given(file, sent, kept)
    assert [key for key, _ in found.frames] == [INDEX]
    keep(file, 3, {"b": b"3"})
    found = given(file, found.sent, kept)
    assert [key for key, _ in found.frames] == ["value:1:b", INDEX]
    file.commit(4, KernelReport({"a": ("int", None)}), {})
    found = given(file, found.sent, kept)
    assert [(key, body is None) for key, body in found.frames] == [(INDEX, False), ("value:0:b", True)]
    assert values(there(tmp_path, kept)) == {"a": b"1"}
    assert given(file, found.sent, kept).frames == ()
    file.advance(5)
    assert given(file, found.sent, kept).frames[1:] == (("value:1:b", None),)
    assert {*kept} == {INDEX, "value:0:a"}


def test_a_value_that_stays_behind_is_told_to_be_older(tmp_path: Path) -> None:
    """A new one, to have had no time; both are there once they fit."""
    file, kept = opened(tmp_path, "here"), Kept()
    keep(file, 1, {"a": b"old", "b": b"1"})
    sent = given(file, SentValues(), kept).sent
    keep(file, 2, {"a": b"n" * 100, "b": b"2", "c": b"c" * 50})
    found = given(file, sent, kept, 40)
    assert found.lacking == {"a", "c"}
    other = there(tmp_path, kept)
    assert values(other) == {"a": b"old", "b": b"2"}
    assert told(other) == {"a": (1, None), "b": (2, None), "c": (2, NO_TIME)}
    assert given(file, found.sent, kept, 40).lacking == {"a", "c"}
    found = given(file, found.sent, kept)
    assert found.lacking == frozenset()
    assert values(there(tmp_path, kept)) == values(file)


def test_a_look_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the file while it is read: further values, and a move of all of them."""
    monkeypatch.setattr(snapshot_file, "GARBAGE_BYTES_MIN", 10)
    file = opened(tmp_path, "here")
    keep(file, 1, {"a": b"first" * 10, "b": b"other" * 10})
    look = look_at(file, 0)
    for step in range(2, 9):
        keep(file, step, {"a": str(step).encode() * 50})
    assert file.number != look.file_number or file.index.entries["a"].offset != look.index.entries["a"].offset
    found = changed(look, SentValues(), PLENTY)
    look.close()
    look.close()
    kept = {key: body for key, body in found.frames if body is not None}
    assert values(there(tmp_path, kept)) == {"a": b"first" * 10, "b": b"other" * 10}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_kept_in_whatever_order_others_have_it(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of any size that come, change, go and are moved together; some stay behind, and come later."""
    monkeypatch.setattr(snapshot_file, "GARBAGE_BYTES_MIN", 200)
    roll = random.Random(seed)
    file, kept, sent = opened(tmp_path, "here"), Kept(), SentValues()
    for step in range(1, 40):
        new = {roll.choice("abcdefg"): roll.randbytes(roll.choice((0, 1, 30, 300))) for _ in range(roll.randrange(4))}
        names = {*file.index.entries, *new} - {roll.choice("abcdefg")}
        stream = b"".join(head(name) + (data and chunk(data)) + END for name, data in new.items() if name in names)
        file.commit(step, KernelReport(dict.fromkeys(sorted(names), ("bytes", None))), receive(file, stream))
        found = given(file, sent, kept, roll.choice((0, 50, PLENTY)))
        if roll.random() < 0.8:  # else nobody knows whether they have it, and it goes again
            sent = found.sent
        now = there(tmp_path, kept)
        whole = {name: value for name, value in values(file).items() if name not in found.lacking}
        assert {name: value for name, value in values(now).items() if name not in found.lacking} == whole
        assert all(now.index.entries[name].step < step or now.index.entries[name].why for name in found.lacking)
    assert given(file, sent, kept).lacking == frozenset()
    assert values(there(tmp_path, kept)) == values(file)
    assert len(kept) <= 1 + 2 * 7  # two for each name, and the index


def test_any_name_has_a_key_of_its_own() -> None:
    """Also one that is very long, is no text for others, or looks like the key of another."""
    names = [
        "a",
        "#",
        "ä",
        "\ud800",
        "a\nb",
        "x" * 10_000,
        "x" * 9_999,
        "x" * NAME_CHARS_MAX,
        value_key("\ud800", 0)[8:],
    ]
    keys = [value_key(name, turn) for name in names for turn in (0, 1)]
    assert len(set(keys)) == 2 * len(names)
    assert max(map(len, keys)) <= 1_000


DAMAGE: dict[str, Callable[[Kept], object]] = {
    "a value is cut off": lambda kept: kept.update({"value:0:a": kept["value:0:a"][:-1]}),
    "a value is another one": lambda kept: kept.update({"value:0:a": b"x"}),
    "a value is missing": lambda kept: kept.pop("value:0:a"),
    "the index is missing": lambda kept: kept.pop(INDEX),
    "the index is no JSON": lambda kept: kept.update({INDEX: b"{"}),
    "the index is a list": lambda kept: kept.update({INDEX: b"[]"}),
    "the index nests": lambda kept: kept.update({INDEX: b"[" * 100_000}),
    "a step is negative": lambda kept: kept.update({INDEX: _index(step=-1)}),
    "a size is a text": lambda kept: kept.update({INDEX: _index(names={"a": ["int", 1, "1", 0, None, 0]})}),
    "a row is short": lambda kept: kept.update({INDEX: _index(names={"a": ["int", 1]})}),
    "a reason is a number": lambda kept: kept.update({INDEX: _index(names={"a": ["int", 1, 0, 0, 5, 0]})}),
    "there is too much": lambda kept: kept.update({"value:0:b": b"x" * (11 << 20)}),
}


def _index(**parts: object) -> bytes:
    return json.dumps({"step": 1, "more": 0, "names": {}} | parts).encode()


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_does_not_fit_together_is_told(tmp_path: Path, kind: str) -> None:
    """An index that names what is not there is never written."""
    file, kept = opened(tmp_path, "here"), Kept()
    keep(file, 1, {"a": b"1"})
    given(file, SentValues(), kept)
    DAMAGE[kind](kept)
    other = SnapshotFile(tmp_path / "there", "s_1", LIMITS, is_new=True)
    with pytest.raises(NotAsWritten):
        bring_in(other, kept.items())
    assert opened(tmp_path, "there").index.entries == {}


def test_a_node_with_other_limits_takes_what_it_can(tmp_path: Path) -> None:
    """One that may not keep so much says so."""
    file, kept = opened(tmp_path, "here"), Kept()
    keep(file, 1, {"a": b"1" * 1_000_000})
    given(file, SentValues(), kept)
    small = SnapshotLimits(name_mb=0, total_mb=0, step_ms=1)
    with pytest.raises(NotAsWritten, match="bytes"):
        bring_in(SnapshotFile(tmp_path / "there", "s_1", small, is_new=True), kept.items())
