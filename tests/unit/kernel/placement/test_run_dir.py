"""Run directories belong to whoever holds their lock; the rest is swept, by that lock and never by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement import run_place
from rlm_kernel_mcp.kernel.placement.run_dir import LOCK_NAME, RunDir, sweep
from rlm_kernel_mcp.kernel.placement.run_place import PATH_BYTES_MAX
from tests.parts import skip_for_lack_of
from tests.processes import command_lines_below, left_over
from tests.rights import NOBODY
from tests.sessions import WAIT_S

HOLDER = """
import os, sys, time
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
run = RunDir.create()
run.kernel_dir()
print(run.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where run directories lie in this test: no long path, which would be left for another."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory) / "rlm"


def test_a_killed_server_s_folder_is_swept_and_a_living_one_s_is_not(base: Path) -> None:
    """By the next server, with all that is in it."""
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        paths = []
        for holder in holders:
            assert holder.stdout is not None
            paths.append(Path(holder.stdout.readline().strip()))
        holders[0].kill()
        holders[0].wait(WAIT_S)
        ours = RunDir.create()
        assert not paths[0].exists()
        assert paths[1].exists()
        assert sorted(base.iterdir()) == sorted([ours.path, paths[1]])
        ours.remove()
        assert list(base.iterdir()) == [paths[1]]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait(WAIT_S)
            for end in (holder.stdin, holder.stdout):
                assert end is not None
                end.close()


GUARDED = HOLDER.replace("run.kernel_dir()", "run.kernel_dir(), run.guard()") + "run.remove()"


@pytest.mark.parametrize("killed", [True, False])
def test_a_guarded_folder_goes_with_its_server_and_no_process_stays(base: Path, killed: bool) -> None:
    """Also where it is killed; a shell beside it removes the directory then."""
    holder = subprocess.Popen(
        [sys.executable, "-c", GUARDED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        path = Path(holder.stdout.readline().strip())
        assert path.is_dir()
        below = command_lines_below(holder.pid)
        assert len(below) == 1
        if killed:
            os.killpg(holder.pid, signal.SIGKILL)
        else:
            holder.stdin.close()
        holder.wait(WAIT_S)
        assert left_over(below, WAIT_S) == []
        assert list(base.iterdir()) == []


def test_what_is_no_run_folder_is_left_alone(base: Path) -> None:
    """Names are not proof of anything."""
    RunDir.create().remove()
    (base / "looks_like_one").mkdir()
    (base / "a file").write_text("mine")
    (base / "linked").mkdir()
    (base / "linked" / LOCK_NAME).symlink_to(base / "a file")
    assert sweep(base) == []
    assert {path.name for path in base.iterdir()} == {"looks_like_one", "a file", "linked"}


def test_a_folder_that_is_just_being_made_is_not_swept(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any moment of its making another server may start and sweep."""
    swept: list[Path] = []
    begun = RunDir.create()
    really_open = os.open

    def open_then_sweep(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = really_open(path, flags, mode)
        if threading.current_thread() is making and "lock" in str(path):
            other = threading.Thread(target=lambda: swept.extend(sweep(base)))
            other.start()
            other.join()
        return descriptor

    made: list[RunDir] = []
    making = threading.Thread(target=lambda: made.append(RunDir.create()))
    monkeypatch.setattr(os, "open", open_then_sweep)
    making.start()
    making.join()
    monkeypatch.undo()
    assert swept == []
    assert made
    assert (made[0].path / LOCK_NAME).exists()
    assert [path.name for path in made[0].path.iterdir()] == [LOCK_NAME]
    for run in (begun, *made):
        run.remove()


def test_servers_that_start_at_once_do_not_sweep_each_other(base: Path) -> None:
    """Codex starts one for each of its agents."""
    made: list[RunDir] = []

    def create() -> None:
        made.extend(RunDir.create() for _ in range(25))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 200
    assert all((run.path / LOCK_NAME).exists() for run in made)
    for run in made:
        run.remove()
    assert list(base.iterdir()) == []


def of_another_user(base: Path) -> None:
    base.mkdir(mode=0o700)
    os.chown(base, NOBODY, NOBODY)


def a_link(base: Path) -> None:
    (base.parent / "elsewhere").mkdir()
    base.symlink_to("elsewhere")


@pytest.mark.parametrize("squat", [of_another_user, a_link, Path.touch, Path.mkdir], ids=lambda squat: squat.__name__)
def test_where_somebody_made_our_place_first_another_is_taken_and_said(
    base: Path, squat: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """By the next start the same one, which is swept too; nothing is put where the first one leads."""
    if squat is of_another_user and os.geteuid() != 0:
        skip_for_lack_of("a directory of another user", "run as root")
    squat(base)
    if squat is Path.mkdir:
        base.chmod(0o755)
    before = base.stat()
    held = RunDir.create()
    place = held.path.parent
    assert place != base
    assert place.parent == base.parent
    assert place.stat().st_mode & 0o777 == 0o700
    assert str(base) in caplog.text
    assert str(place) in caplog.text
    (place / "left").mkdir()
    (place / "left" / LOCK_NAME).touch()
    again = RunDir.create()
    assert again.path.parent == place
    assert not (place / "left").exists()
    assert base.stat() == before
    again.remove()
    held.remove()


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory whose path is too long for sockets."""
    path = tmp_path / ("d" * 120)
    path.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


def test_a_place_too_long_for_sockets_is_left_for_a_shorter_one_and_both_are_said(
    deep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server starts whatever the user's temporary directory is, as the kernel of another Jupyter client does."""
    run = RunDir.create()
    assert len(os.fsencode(run.kernel_dir().socket_stem)) < 107
    assert str(run.path.parent) in caplog.text
    assert str(deep) in caplog.text
    assert "the limit is 84" in caplog.text
    run.remove()


def test_a_taken_place_beside_which_the_path_is_too_long_is_left_too(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place beside one has a longer name."""
    fits = PATH_BYTES_MAX - len("/rlm/12345678")
    directory = short_dir / ("d" * (fits - len(str(short_dir)) - 1))
    directory.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    run = RunDir.create()
    assert run.path.parent == directory / "rlm"
    run.remove()
    (directory / "rlm").rmdir()
    (directory / "rlm").touch()
    run = RunDir.create()
    assert run.path.parent.parent != directory
    run.remove()


def test_where_every_place_is_too_long_for_sockets_that_is_told(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the length, the limit and what to do."""
    monkeypatch.setattr(run_place, "SHORT_DIRECTORIES", (str(deep), "/proc/self/no-such-directory"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(deep))
    with pytest.raises(KernelStartFailed, match="the limit is 84") as told:
        RunDir.create()
    assert told.value.next_step == "Set XDG_RUNTIME_DIR or TMPDIR to a shorter path."


def test_a_run_folder_is_removed_once_and_by_its_owner_alone(base: Path) -> None:
    """A descriptor number that was closed may be somebody else's by the second time."""
    run = RunDir.create()
    if (child := os.fork()) == 0:
        run.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert run.path.is_dir()
    run.remove()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    run.remove()
    for descriptor in held:
        os.close(descriptor)
    assert list(base.iterdir()) == []
