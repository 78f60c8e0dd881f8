"""`files`: what is taken out of a session whose kernel lists and sends whatever it likes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from rlm_kernel_mcp.commands import files as files_module
from rlm_kernel_mcp.commands.files import Taking, _lines, files
from rlm_kernel_mcp.commands.taking.place import TakingPlace
from rlm_kernel_mcp.context_wire import FILE_PART_BYTES
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.errors import HostEnded, KernelDied, SessionElsewhere
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFile, ScratchFiles
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.store import SessionRecord, Store

Send = Callable[[str, int], FilePart]


def part(data: bytes, version: str = "1", *, last: bool = True) -> FilePart:
    return FilePart(base64.b64encode(data).decode(), version, last)


class Scripted:
    """In place of the connection to a host: files by name, and what is sent of each."""

    def __init__(self, sent: dict[str, bytes | Send], left_out: dict[str, int] | None = None) -> None:
        self.sent = sent
        self.left_out = left_out or {}
        self.asked: list[tuple[str, int]] = []

    async def files(self, _session_id: str) -> ScratchFiles:
        """Each is said to have one byte."""
        return ScratchFiles(tuple(ScratchFile(name, 1) for name in self.sent), self.left_out)

    async def file_part(self, _session_id: str, name: str, offset: int) -> FilePart:
        """As an honest kernel sends it, where it is bytes."""
        self.asked.append((name, offset))
        sent = self.sent[name]
        if not isinstance(sent, bytes):
            return sent(name, offset)
        data = sent[offset : offset + FILE_PART_BYTES]
        return part(data, last=offset + len(data) >= len(sent))


def taken(link: Scripted, out: Path) -> Taking:
    with closing(TakingPlace(out)) as place:
        taking = Taking("s_1", place)
        asyncio.run(taking.run(cast(Link, link)))
    return taking


def there(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_files_lie_in_the_directory_as_they_were(tmp_path: Path) -> None:
    """Of whatever size: what the list says of it is the kernel's word."""
    large = bytes(range(256)) * (FILE_PART_BYTES // 128) + b"end"
    link = Scripted({"a.csv": b"1,2\n", "empty": b"", "plots/large.png": large}, {"link": 2})
    taking = taken(link, tmp_path / "out")
    assert there(tmp_path / "out") == {"a.csv": b"1,2\n", "empty": b"", "plots/large.png": large}
    assert _lines(taking) == [
        "NAME             BYTES      WRITTEN AS",
        "a.csv            4          a.csv",
        "empty            0          empty",
        f"plots/large.png  {len(large):,}  plots/large.png",
        "Left out: 2 symbolic links, which are not followed.",
    ]


def test_names_that_lead_elsewhere_or_act_are_plain_on_the_disk(tmp_path: Path) -> None:
    """And on the terminal."""
    link = Scripted(
        {"../../x": b"1", "/etc/cron": b"2", "a\x1b[2J\nb": b"3", ".bashrc": b"4", "a\\b": b"5", "a|b": b"6"}
    )
    taking = taken(link, tmp_path / "out")
    assert there(tmp_path / "out") == {
        "_./_./x": b"1",
        "etc/cron": b"2",
        "a_[2J_b": b"3",
        "_bashrc": b"4",
        "a_b": b"5",
        "a_b (2)": b"6",
    }
    assert all(line.isprintable() for line in _lines(taking))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def endless(_name: str, _offset: int) -> FilePart:
    """A kernel that goes on as long as it is asked."""
    return part(bytes(FILE_PART_BYTES), last=False)


def growing(_name: str, offset: int) -> FilePart:
    """A file into which a step writes meanwhile."""
    return part(bytes(FILE_PART_BYTES), version=str(offset), last=False)


def test_a_file_without_end_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does any of it stay; the next one is."""
    monkeypatch.setattr(files_module, "FILE_MB_MAX", 3)
    link = Scripted({"endless": endless, "file": b"x"})
    taking = taken(link, tmp_path)
    assert [one.why for one in taking.taken] == ["it has more than 3 MB", ""]
    assert there(tmp_path) == {"file": b"x"}
    assert len(link.asked) == 4 + 1


def test_all_together_have_a_bound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four thousand sparse files of 64 MB fit a scratch directory of 64 MB."""
    monkeypatch.setattr(files_module, "ALL_MB_MAX", 2)
    link = Scripted({f"{number}": bytes(FILE_PART_BYTES) for number in range(5)})
    taking = taken(link, tmp_path)
    assert sorted(there(tmp_path)) == ["0", "1"]
    assert taking.taken[2].why == "2 MB are taken out at a time, and it is beyond that"
    assert _lines(taking)[-1] == "3 files were not taken out."


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    """Its parts would be of two files."""
    taking = taken(Scripted({"log": growing}), tmp_path)
    assert taking.taken[0].why.startswith("it has changed while it was read")
    assert there(tmp_path) == {}


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Neither a file nor what a link leads to; nor is a directory made of a file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"the person's")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    taking = taken(Scripted({"a": b"1", "a/b": b"2", "link": b"3", "new": b"4"}), tmp_path / "out")
    assert [bool(one.why) for one in taking.taken] == [True, True, True, False]
    assert (tmp_path / "out" / "a").read_bytes() == b"the person's"
    assert not (tmp_path / "elsewhere").exists()


def refusing(_name: str, _offset: int) -> FilePart:
    raise KernelDied("The kernel did not send the file: it is no plain file.")


def test_a_kernel_that_sends_nothing_is_not_asked_for_thousands(tmp_path: Path) -> None:
    """Each time it may be waited for 10 s."""
    link = Scripted({"first": b"x", **dict.fromkeys(map(str, range(50)), refusing)})
    taking = taken(link, tmp_path)
    assert (len(link.asked), len(taking.taken)) == (11, 51)
    assert taking.taken[-1].why == "the kernel did not send the 10 files before it"
    assert there(tmp_path) == {"first": b"x"}


def test_a_host_that_ends_leaves_the_whole_files_and_no_half_one(tmp_path: Path) -> None:
    def ending(_name: str, offset: int) -> FilePart:
        if offset:
            raise HostEnded("The host ended before it answered file_part.")
        return part(bytes(FILE_PART_BYTES), last=False)

    with pytest.raises(HostEnded):
        taken(Scripted({"a": b"x", "b": ending}), tmp_path)
    assert there(tmp_path) == {"a": b"x"}


def test_as_json_a_file_is_told_by_its_own_name_and_by_where_it_lies(tmp_path: Path) -> None:
    taking = taken(Scripted({"a\x1b": b"xyz", "b": refusing}), tmp_path)
    assert [one.row() for one in taking.taken] == [
        {"name": "a\x1b", "bytes": 1, "path": "a_", "written": 3},
        {"name": "b", "bytes": 1, "why": "The kernel did not send the file: it is no plain file."},
    ]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a state directory with a session that nobody drives."""
    made = load_settings(tmp_path, {"RLM_STATE_DIR": str(tmp_path), "RLM_HOST_DIR": str(tmp_path / "hosts")})
    with closing(Store.open(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", "2026-11-30T10:00:00.000Z", "text", "idle"))
        store.let_go("s_1")
    return made


def environ(settings: Settings) -> dict[str, str]:
    return {"RLM_STATE_DIR": str(settings.state_dir), "RLM_HOST_DIR": str(settings.state_dir / "hosts")}


def test_a_session_without_a_kernel_has_no_files_any_more(settings: Settings, tmp_path: Path) -> None:
    """No kernel is started for that, and no directory made."""
    with pytest.raises(KernelDied, match="what was in its scratch directory ended with the last one"):
        files(settings, environ(settings), "s_1", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_server_without_a_host_is_not_asked(settings: Settings) -> None:
    """This process is no host."""
    with closing(Store.open(settings.state_dir)) as store:
        lock = store.acquire("s_1")
        assert lock is not None
        with pytest.raises(SessionElsewhere, match="no host of yours"):
            files(settings, environ(settings), "s_1")
        lock.release()


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_without_a_directory_they_are_listed(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    """By the kernel's word, and none is asked for."""
    link: Any = Scripted({"b\x1b": b"", "a": b""}, {"more": 3})
    monkeypatch.setattr(files_module, "require_host", lambda *_: None)
    monkeypatch.setattr(files_module, "ask_host", lambda request: asyncio.run(request(link)))
    with closing(Store.open(settings.state_dir)) as store:
        lock = store.acquire("s_1")
        assert lock is not None
        assert files(settings, environ(settings), "s_1", as_json=as_json) == 0
        lock.release()
    told = capsys.readouterr().out
    if as_json:
        rows = [{"name": "b\x1b", "bytes": 1}, {"name": "a", "bytes": 1}]
        assert json.loads(told) == {"session_id": "s_1", "files": rows, "left_out": {"more": 3}}
    else:
        assert told == "NAME   BYTES\nb\\x1b  1\na      1\nLeft out: 3 more than are listed.\n"
    assert link.asked == []


def test_a_long_name_makes_no_wide_table(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may list thousands of files, and each line is as wide as the longest name. As JSON it is whole."""
    link: Any = Scripted({"dir/" + "\x1b" * 4_000 + ".csv": b"", "a": b""}, {})
    monkeypatch.setattr(files_module, "require_host", lambda *_: None)
    monkeypatch.setattr(files_module, "ask_host", lambda request: asyncio.run(request(link)))
    with closing(Store.open(settings.state_dir)) as store:
        lock = store.acquire("s_1")
        assert lock is not None
        assert files(settings, environ(settings), "s_1") == 0
        lock.release()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 100
    (long,) = (line for line in lines if line.startswith("dir/"))
    assert ".csv" in long
