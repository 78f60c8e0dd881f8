"""What of a session's values stands in its file after any end: of a stream, of the disk, of the process."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.untrusted.snapshot_report import KernelReport
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken, decoded
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.snapshots import file as snapshot_file
from rlm_kernel_mcp.session.snapshots.file import DAMAGED, Entry, SnapshotFile
from rlm_kernel_mcp.store.paths import snapshot_files
from tests.unit.kernel.untrusted.test_snapshot_stream import END, GIVEN_UP, chunk, head

LIMITS = SnapshotLimits(name_mb=1, total_mb=4, step_ms=60_000)


def opened(directory: Path) -> SnapshotFile:
    return SnapshotFile(directory, "s_1", LIMITS)


def receive(file: SnapshotFile, stream: bytes) -> dict[str, Entry]:
    return file.append(decoded([stream], file.stream_limits))


def keep(file: SnapshotFile, step: int, values: dict[str, bytes], *, unverified: tuple[str, ...] = ()) -> None:
    """A snapshot after a step that sends these values; names that were there before stay, as the kernel says."""
    received = receive(file, b"".join(head(name) + chunk(data) + END for name, data in values.items()))
    names = dict.fromkeys((*file.index.entries, *values), ("int", None))
    file.commit(step, KernelReport(names, frozenset(unverified)), received)


def values(file: SnapshotFile) -> dict[str, bytes]:
    source = file.open_for_reading()
    try:
        return {
            name: os.pread(source, entry.bytes, entry.offset)
            for name, entry in file.index.entries.items()
            if entry.why is None
        }
    finally:
        os.close(source)


def test_another_process_finds_what_was_kept(tmp_path: Path) -> None:
    """Values, steps, and the names that could not be kept with their reasons."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"1", "b": b"22"})
    received = receive(file, head("b") + chunk(b"new") + END)
    report = KernelReport({"a": ("int", None), "b": ("str", None), "g": ("generator", "no")}, more=3)
    file.commit(2, report, received)
    again = opened(tmp_path)
    assert values(again) == {"a": b"1", "b": b"new"}
    assert again.index == file.index
    assert (again.index.step, again.index.more) == (2, 3)
    assert again.index.entries["g"] == Entry("generator", 2, why="no")
    assert again.damaged() == set()


def test_a_session_that_has_bound_nothing_yet_has_its_step_written_down(tmp_path: Path) -> None:
    """The first of a new state directory too, where no value has made the snapshots' directory."""
    file = opened(tmp_path / "new")
    file.advance(1)
    file.write_index()
    assert opened(tmp_path / "new").index.step == 1


def test_a_name_that_was_not_looked_at_keeps_its_older_step(tmp_path: Path) -> None:
    """One that was and did not change is of the new step; one that is not there any more is forgotten."""
    file = opened(tmp_path)
    keep(file, 1, {"seen": b"1", "unseen": b"2", "gone": b"3"})
    file.commit(2, KernelReport({"seen": ("int", None), "unseen": ("int", None)}, frozenset({"unseen"})), {})
    assert {name: entry.step for name, entry in file.index.entries.items()} == {"seen": 2, "unseen": 1}


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in snapshot_files(directory, "s_1") if path.exists())


def test_a_session_s_values_take_no_more_disk_than_their_bound_and_more_would_be_seen(tmp_path: Path) -> None:
    """Each step binds other names; with a larger bound, the control, the same values take more than it."""
    bounded = SnapshotFile(tmp_path / "bounded", "s_1", LIMITS)
    larger = SnapshotFile(tmp_path / "larger", "s_1", SnapshotLimits(name_mb=1, total_mb=64, step_ms=60_000))
    bound = int(LIMITS.total_mb * snapshot_file.FILE_SHARE) << 20
    for file in (bounded, larger):
        with contextlib.suppress(StreamBroken):
            for step in range(1, 15):
                keep(file, step, {f"v{step}": bytes(1_000_000)})
    assert on_disk(tmp_path / "bounded") <= bound
    assert on_disk(tmp_path / "larger") > bound


def test_a_kernel_s_word_alone_makes_no_value(tmp_path: Path) -> None:
    """A name that it says was sent, or did not change, and that nobody has, is lost."""
    file = opened(tmp_path)
    receive(file, b"")
    file.commit(1, KernelReport({"a": ("int", None), "b": ("int", None)}, frozenset({"b"})), {})
    assert [entry.why for entry in file.index.entries.values()] == ["there was no time to keep it"] * 2


def test_a_stream_that_is_there_needs_no_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe holds a page alone for a user who has many: the rest would wait for a reader that does not come."""
    monkeypatch.setattr(os, "pipe2", None)
    monkeypatch.setattr(os, "pipe", None)
    file = opened(tmp_path)
    file.store(1, KernelReport({"a": ("bytes", None)}), head("a") + chunk(b"x" * 40_000) + END)
    assert values(opened(tmp_path)) == {"a": b"x" * 40_000}
    with pytest.raises(StreamBroken, match="ends within a value"):
        file.store(2, KernelReport({"a": ("bytes", None)}), head("a") + chunk(b"y" * 40_000))
    assert values(opened(tmp_path)) == {"a": b"x" * 40_000}


def test_a_stream_that_breaks_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Also the values that had come whole before; the next stream takes their place."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"old"})
    with pytest.raises(StreamBroken):
        receive(file, head("a") + chunk(b"new") + END + head("b") + b"\xff")
    assert values(file) == {"a": b"old"}
    keep(file, 2, {"c": b"ccc"})
    assert values(file) == {"a": b"old", "c": b"ccc"}
    assert sum(path.stat().st_size for path in snapshot_files(tmp_path, "s_1")[:2] if path.exists()) == 6


def test_a_value_that_was_given_up_leaves_the_older_one(tmp_path: Path) -> None:
    """The kernel says in its report what became of it."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"old"})
    assert receive(file, head("a") + chunk(b"half") + GIVEN_UP) == {}
    assert values(file) == {"a": b"old"}


@pytest.mark.parametrize("where", ["replace", "write"])
def test_an_index_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The server goes on with the new one; whoever comes after a kill finds the old one, whole."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"old"})

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    if where == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(json, "dump", fail)
    with pytest.raises(OSError, match="space"):
        keep(file, 2, {"a": b"new"})
    assert values(file) == {"a": b"new"}
    assert values(opened(tmp_path)) == {"a": b"old"}
    monkeypatch.undo()
    keep(file, 3, {})
    assert values(opened(tmp_path)) == {"a": b"new"}


def test_an_index_that_is_no_index_is_none(tmp_path: Path) -> None:
    """Whatever is in it; the next snapshot writes another."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"1"})
    index = snapshot_files(tmp_path, "s_1")[2]
    for text in (
        "",
        "{",
        "[]",
        '{"file": 0}',
        '{"file":0,"step":1,"more":0,"entries":{"a":{"b":1}}}',
        "\x00\xff",
        "null",
    ):
        index.write_text(text, encoding="latin-1")
        assert opened(tmp_path).index.entries == {}
    again = opened(tmp_path)
    keep(again, 2, {"b": b"2"})
    assert values(opened(tmp_path)) == {"b": b"2"}


@pytest.mark.parametrize("damage", ["cut", "turned", "gone"])
def test_damage_is_found_by_name(tmp_path: Path, damage: str) -> None:
    """Every value has its checksum."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"aaaa", "b": b"bbbb"})
    path = snapshot_files(tmp_path, "s_1")[0]
    match damage:
        case "cut":
            path.write_bytes(b"aaaabb")
        case "turned":
            path.write_bytes(b"aaaabcbb")
        case _:
            path.unlink()
    assert opened(tmp_path).damaged() == ({"a", "b"} if damage == "gone" else {"b"})
    assert "damaged" in DAMAGED


def test_the_values_move_together_when_most_of_the_file_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment the index on disk names what is not there; a process that is killed at any of them loses nothing."""
    monkeypatch.setattr(snapshot_file, "GARBAGE_BYTES_MIN", 1_000)
    file = opened(tmp_path)
    seen: list[dict[str, bytes]] = []
    replace, unlink = Path.replace, Path.unlink

    def look_then_replace(path: Path, target: Path) -> Path:
        seen.append(values(opened(tmp_path)))
        return replace(path, target)

    def look_then_unlink(path: Path, missing_ok: bool = False) -> None:
        seen.append(values(opened(tmp_path)))
        unlink(path, missing_ok)

    keep(file, 1, {"still": b"s" * 100, "a": b"0" * 400})
    monkeypatch.setattr(Path, "replace", look_then_replace)
    monkeypatch.setattr(Path, "unlink", look_then_unlink)
    for step in range(2, 12):
        keep(file, step, {"a": bytes([step]) * 400})
        assert values(opened(tmp_path)) == {"still": b"s" * 100, "a": bytes([step]) * 400}
    assert all(found["still"] == b"s" * 100 and len(set(found["a"])) == 1 for found in seen)
    sizes = [path.stat().st_size for path in snapshot_files(tmp_path, "s_1")[:2] if path.exists()]
    assert len(sizes) == 1
    assert sizes[0] < 2_500
    assert opened(tmp_path).damaged() == set()


def test_a_move_that_the_disk_does_not_allow_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again after the next step."""
    monkeypatch.setattr(snapshot_file, "GARBAGE_BYTES_MIN", 1_000)
    file = opened(tmp_path)
    keep(file, 1, {"still": b"s" * 100})

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    for step in range(2, 5):
        keep(file, step, {"a": bytes([step]) * 400})
    monkeypatch.setattr(snapshot_file, "_moved", full)
    with pytest.raises(OSError, match="space"):
        keep(file, 5, {"a": b"5" * 400})
    monkeypatch.undo()
    assert values(file) == values(opened(tmp_path)) == {"still": b"s" * 100, "a": b"5" * 400}


def test_the_session_s_cap_holds_whatever_the_kernel_sends(tmp_path: Path) -> None:
    """A kernel that counts wrong, or on purpose, does not fill the disk."""
    file = opened(tmp_path)
    for step in range(1, 11):
        keep(file, step, {f"v{step}": b"x" * 1_000_000})
    with pytest.raises(StreamBroken, match="10,485,760 bytes"):
        keep(file, 11, {"v11": b"x" * 1_000_000})
    assert sum(path.stat().st_size for path in snapshot_files(tmp_path, "s_1") if path.exists()) < 14 << 20


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    """Also of what an earlier process left half done."""
    file = opened(tmp_path)
    keep(file, 1, {"a": b"1"})
    for path in snapshot_files(tmp_path, "s_1"):
        path.touch()
    file.remove()
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert opened(tmp_path).index.entries == {}
