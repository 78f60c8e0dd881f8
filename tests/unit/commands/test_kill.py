"""`kill` where nobody has the session, or somebody who cannot be asked."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.commands.kill import kill
from rlm_kernel_mcp.errors import SessionBusy, SessionElsewhere, SessionNotFound
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store

NOW = "2026-11-30T10:00:00.000Z"


class Place:
    """A state directory with a session and a child of it."""

    def __init__(self, directory: Path) -> None:
        self.environ = {"RLM_STATE_DIR": str(directory / "state"), "RLM_HOST_DIR": str(directory / "hosts")}
        self.settings: Settings = load_settings(directory, self.environ)
        self.store = Store.open(self.settings.state_dir)
        self.store.add_session(SessionRecord("s_1", NOW, "text", "idle", last_used_at=NOW))
        self.store.add_session(SessionRecord("s_2", NOW, "text", "idle", last_used_at=NOW, parent="s_1", depth=1))
        self.store.add_event(EventRow("s_1", NOW, 1, "run_repl", result_status="ok", code="6 * 7"))
        for path in self.files:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        for session_id in ("s_1", "s_2"):
            self.store.let_go(session_id)

    @property
    def files(self) -> list[Path]:
        return snapshot_files(self.settings.state_dir, "s_1")

    def kill(self, session_id: str = "s_1", *, forget: bool = False) -> int:
        return kill(self.settings, self.environ, session_id, forget=forget)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def test_a_session_without_a_kernel_is_left_as_it_is(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.kill() == 0
    assert capsys.readouterr().out == "Session s_1 has no kernel.\n"
    assert place.store.session("s_1") is not None
    assert all(path.exists() for path in place.files)


def test_nothing_is_kept_of_a_session_that_is_to_be_forgotten_nor_of_its_children(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.kill(forget=True) == 0
    assert "Session s_1 is forgotten" in capsys.readouterr().out
    assert (place.store.session("s_1"), place.store.session("s_2"), list(place.store.events("s_1"))) == (None, None, [])
    assert not any(path.exists() for path in place.files)
    with pytest.raises(SessionNotFound):
        place.kill()


def test_nothing_of_it_is_left_in_any_file_either(place: Place) -> None:
    """Also while a host has the store open, whose log and free pages would keep it as long as nobody needs them."""
    place.store.add_event(EventRow("s_1", NOW, 2, "run_repl", result_status="ok", stdout="the secret " * 1_000))
    place.store.put_context("s_1", b"the secret " * 1_000)
    place.store.let_go("s_1")
    assert place.kill(forget=True) == 0
    files = [path for path in place.settings.state_dir.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"secret" in path.read_bytes()] == []


@pytest.mark.parametrize(("fault", "said"), [("disk", "the disk is full"), ("files", "its values cannot be removed")])
def test_what_could_not_be_removed_is_not_called_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str, said: str
) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    def into_memory(self: Any, operation: Operation, _size_bytes: int = 0) -> bool:
        if self._memory is None:
            self._begin_memory("The session store cannot be written: the disk is full.")
        return bool(self._write_memory(operation))

    if fault == "disk":
        monkeypatch.setattr(Database, "write", into_memory)
    else:
        monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(SessionBusy, match=f"is not forgotten, or not all of it: .*{said}"):
        place.kill(forget=True)
    assert "forgotten" not in capsys.readouterr().out


@pytest.mark.parametrize("forget", [False, True])
def test_a_server_without_a_host_is_not_asked_and_keeps_its_session(place: Place, *, forget: bool) -> None:
    """This process is no host."""
    lock = place.store.acquire("s_1")
    assert lock is not None
    with pytest.raises(SessionElsewhere, match=r"is driven by a server \(pid \d+\) that is no host of yours"):
        place.kill(forget=forget)
    assert place.store.session("s_1") is not None
    lock.release()
