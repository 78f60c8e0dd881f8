"""`take_small`: the snapshot that comes with a step's reply, or is left for a pipe without a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.in_kernel.snapshots.taking import SMALL_NAMES, NamespaceSnapshots
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import checked_report
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT_BYTES_MAX, RestoreItem, SnapshotReply

LIMITS: Final = {"name_mb": 1, "total_mb": 4, "step_ms": 60_000}


class Counted:
    """A value that counts how often it is pickled, and may do something then."""

    def __init__(self, does: Callable[[], None] = lambda: None) -> None:
        self.times = 0
        self.does = does

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        self.times += 1
        self.does()
        return int, (5,)


@pytest.fixture(autouse=True)
def time_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten milliseconds may pass anywhere on a busy machine."""
    monkeypatch.setattr("rlm_kernel_mcp.in_kernel.snapshots.taking.SMALL_S", 60.0)


def small(snapshots: NamespaceSnapshots, token: int, after: int | None) -> tuple[SnapshotReply, bytes]:
    """One that must be small."""
    taken = snapshots.take_small(token, after)
    assert taken is not None
    return taken


def by_pipe(
    snapshots: NamespaceSnapshots, token: int, after: int | None, directory: Path
) -> tuple[SnapshotReply, bytes]:
    """The same by `take`, into a file in the pipe's place."""
    path = directory / f"stream {token}"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        return snapshots.take(descriptor, token, after), path.read_bytes()
    finally:
        os.close(descriptor)


def sent_names(stream: bytes) -> list[str]:
    """The names whose heads are in a stream of values that hold no line of that kind."""
    return [json.loads(part.partition(b"\n")[0])["name"] for part in stream.split(b"N ")[1:]]


def test_it_is_what_the_pipe_would_have_carried(tmp_path: Path) -> None:
    """Byte for byte, with the same report."""
    names = {"a": 1, "b": [1, 2], "text": "x" * 1_000, "gone": (one for one in "x"), "_hidden": 5}
    assert small(NamespaceSnapshots(dict(names), LIMITS), 1, None) == by_pipe(
        NamespaceSnapshots(dict(names), LIMITS), 1, None, tmp_path
    )


def test_what_the_host_keeps_of_it_a_fresh_kernel_binds(tmp_path: Path) -> None:
    """From stream to file to values."""
    report, stream = small(
        NamespaceSnapshots({"a": 1, "b": [1, {"c": None}], "bad": (one for one in "x")}, LIMITS), 1, None
    )
    assert str(report["names"]["bad"]["why"]).startswith("it cannot be kept: TypeError: ")
    file = SnapshotFile(tmp_path, "s_1", SnapshotLimits(name_mb=1, total_mb=4, step_ms=60_000))
    file.store(1, checked_report({**report}), stream)
    items: list[RestoreItem] = [
        {"name": name, "offset": entry.offset, "bytes": entry.bytes}
        for name, entry in file.index.entries.items()
        if entry.why is None
    ]
    fresh: dict[str, Any] = {}
    descriptor = file.open_for_reading()
    try:
        assert NamespaceSnapshots(fresh, LIMITS).restore(descriptor, items) == {"a": None, "b": None}
    finally:
        os.close(descriptor)
    assert fresh == {"a": 1, "b": [1, {"c": None}]}


def test_only_what_changed_is_sent_and_everything_is_told() -> None:
    """Also a change in place; a deleted name is not told any more."""
    names: dict[str, Any] = {"a": [1], "b": [2], "c": 3}
    snapshots = NamespaceSnapshots(names, LIMITS)
    assert sorted(sent_names(small(snapshots, 1, None)[1])) == ["a", "b", "c"]
    report, stream = small(snapshots, 2, 1)
    assert (set(report["names"]), stream) == ({"a", "b", "c"}, b"")
    names["b"].append(3)
    del names["c"]
    report, stream = small(snapshots, 3, 2)
    assert (set(report["names"]), sent_names(stream)) == ({"a", "b"}, ["b"])


def test_everything_is_sent_again_after_one_that_the_host_does_not_have() -> None:
    """It names the last that it has."""
    snapshots = NamespaceSnapshots({"a": [1], "b": 2}, LIMITS)
    small(snapshots, 1, None)
    small(snapshots, 2, 1)
    assert sorted(sent_names(small(snapshots, 3, 1)[1])) == ["a", "b"]


@pytest.mark.parametrize(
    "names",
    [
        {"a": [1], "large": b"x" * (INLINE_SNAPSHOT_BYTES_MAX + 1)},
        {"a": [1], **{f"n{number}": b"x" * (INLINE_SNAPSHOT_BYTES_MAX // 8) for number in range(9)}},
        {"a": [1], **{f"n{number}": number for number in range(SMALL_NAMES)}},
    ],
    ids=["a large value", "many that are large together", "many names"],
)
def test_what_does_not_fit_is_left_as_if_nothing_had_happened(tmp_path: Path, names: dict[str, Any]) -> None:
    """The pipe then carries just what it would have carried."""
    snapshots = NamespaceSnapshots({"a": names["a"]}, LIMITS)
    small(snapshots, 1, None)
    snapshots._user_ns.update(names)
    assert snapshots.take_small(2, 1) is None
    report, stream = by_pipe(snapshots, 2, 1, tmp_path)
    assert set(report["names"]) == set(names)
    assert sorted(sent_names(stream)) == sorted(set(names) - {"a"})
    assert [row["why"] for row in report["names"].values() if row["why"]] == []


def test_a_value_that_did_not_fit_is_not_tried_again_before_it_is_bound_anew() -> None:
    """Its pickling would cost every step what it cost this one."""
    value, large = Counted(), b"x" * MB
    names: dict[str, Any] = {"large": [large[: MB // 2]], "value": value}
    snapshots = NamespaceSnapshots(names, LIMITS)
    assert snapshots.take_small(1, None) is None
    tried = value.times
    assert snapshots.take_small(2, None) is None
    assert value.times == tried
    names["large"] = [1]
    assert sorted(sent_names(small(snapshots, 3, None)[1])) == ["large", "value"]


def test_a_step_that_waits_ends_it_and_blames_no_value() -> None:
    """The signal's handler asks for the kernel in the middle of a value's own code."""
    asked: list[int] = []

    def ask_once() -> None:
        if not asked:
            asked.append(1)
            snapshots.interrupt()

    names: dict[str, Any] = {"value": Counted(ask_once)}
    snapshots = NamespaceSnapshots(names, LIMITS)
    assert snapshots.take_small(1, None) is None
    assert sent_names(small(snapshots, 2, None)[1]) == ["value"]


def test_a_value_above_the_policy_s_cap_of_one_name_is_told_by_the_pipe_alone(tmp_path: Path) -> None:
    """The small one's bounds end with it."""
    snapshots = NamespaceSnapshots({"larger": b"x" * (MB + 1), "large": b"x" * (MB // 2)}, LIMITS)
    assert snapshots.take_small(1, None) is None
    report, stream = by_pipe(snapshots, 1, None, tmp_path)
    assert str(report["names"]["larger"]["why"]).startswith("its value is larger than 1 MB")
    assert "large" in sent_names(stream)


def doubled(times: int) -> tuple[Any, ...]:
    """A tuple that holds the one before twice, and so on: small, and endless for who goes through it twice."""
    made: tuple[Any, ...] = ()
    for _ in range(times):
        made = made, made
    return made


UNCHANGING: Final[dict[str, Any]] = {
    "number": 5,
    "text": "words",
    "module": json,
    "nothing": None,
    "empty": (),
    "pair": (1, ("a", None, 2.5), frozenset({b"x"})),
    "itself": doubled(200),
    "large_text": "é" * 100_000,
    "large_bytes": b"x" * 100_000,
    "large_number": 7 << 1_000_000,
}
CHANGING: Final[dict[str, Any]] = {
    "many": [1],
    "holds_a_list": (1, [2]),
    "subclass": type("Text", (str,), {"__reduce__": lambda text: (str, ("x",))})("words"),
    "large_tuple": tuple(range(100_000)),
}


def test_what_cannot_change_is_known_also_when_there_is_no_time_to_look_at_it(tmp_path: Path) -> None:
    """Plain values and modules would be told as what later steps may have changed; a list is."""
    names: dict[str, Any] = {**UNCHANGING, **CHANGING}
    snapshots = NamespaceSnapshots(names, LIMITS)
    report, _ = by_pipe(snapshots, 1, None, tmp_path)
    assert [row["why"] for row in report["names"].values()] == [None] * len(names)
    names["value"] = Counted(snapshots.interrupt)  # the next step waits
    report, stream = by_pipe(snapshots, 2, 1, tmp_path)
    assert set(report["unverified"]) == {*CHANGING, "value"}
    assert stream == b""


def test_a_large_value_in_the_place_of_another_is_sent_and_none_is_kept_alive(tmp_path: Path) -> None:
    """The next text of that size often lies where the last one lay."""
    names: dict[str, Any] = {"text": "a" * 100_000}
    snapshots = NamespaceSnapshots(names, LIMITS)
    by_pipe(snapshots, 1, None, tmp_path)
    place = id(names["text"])
    again = 0
    for token in range(2, 52):
        del names["text"]
        names["text"] = chr(token + 70) * 100_000
        again += id(names["text"]) == place
        assert not snapshots.unchanged(token, token - 1)
        _, stream = by_pipe(snapshots, token, token - 1, tmp_path)
        assert sent_names(stream) == ["text"]
        place = id(names["text"])
        assert snapshots.unchanged(token, token)
    assert again, "this test is about texts that lie where another one lay"
