"""Where a front looks for its host, and what it does not take for a dead one."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.front.front import NoHost, Place
from rlm_kernel_mcp.settings import load_settings
from tests.rights import without_root_rights

HOME = {"HOME": "/homes/someone"}


def place_in(directory: Path) -> Place:
    return Place({"RLM_HOST_DIR": str(directory), "RLM_STATE_DIR": "/state"})


@pytest.mark.parametrize(
    "other",
    [
        {"TMPDIR": "/tmp/of-an-editor"},
        {"XDG_RUNTIME_DIR": "/run/user/1000"},
        {"LANG": "de_DE.UTF-8", "TERM": "dumb", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"},
        {"RLM_IMPORTS": "numpy", "RLM_CONTEXT_ROOTS": "/data", "RLM_MEMORY_LIMIT_MB": "99"},
        {"RLM_STATE_DIR": "/homes/someone/.local/../.local/state/rlm-kernel-mcp"},
    ],
)
def test_a_login_shell_cron_ssh_and_an_editor_find_the_same_host(other: dict[str, str]) -> None:
    assert Place({**HOME, **other}).socket == Place({**HOME}).socket


def test_each_cluster_has_a_host_of_its_own_and_none_is_that_of_this_machine() -> None:
    at_home = Place({**HOME}).socket
    assert Place({**HOME, "RLM_CLUSTER": "off"}).socket == Place({**HOME, "RLM_CLUSTER": ""}).socket == at_home
    places = {Place({**HOME, "RLM_CLUSTER": where}).socket for where in ("auto", "head:6379", "other:6379")}
    assert len({at_home, *places}) == 4


def test_a_host_is_told_of_which_cluster_it_is() -> None:
    """It finds its own place by its environment, as its fronts do by theirs; and which file has its token."""
    assert {"RLM_CLUSTER", "RAY_AUTH_TOKEN_PATH"} <= {*front.ours("starting")["KEPT"]}


def test_another_directory_of_the_records_has_another_host() -> None:
    assert Place({**HOME, "RLM_STATE_DIR": "/elsewhere"}).socket != Place({**HOME}).socket


def test_one_python_has_one_host_by_whichever_of_its_names_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A console script runs `python3`, and a user types `python`."""
    found = set[str]()
    for environment in ("one", "two"):
        (tmp_path / environment).mkdir()
        for name in ("python", "python3"):
            alias = tmp_path / environment / name
            alias.symlink_to(sys.executable)
            monkeypatch.setattr(sys, "executable", str(alias))
            found.add(Place({**HOME}).socket)
    assert len(found) == 2


def test_what_a_program_starts_at_the_same_time_does_not_inherit_the_lock(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold it beyond the end of the host, and no other host could begin."""
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    assert place.connect(60) is None
    handed, really = list[tuple[bool, bool]](), os.posix_spawn

    def spawn(_path: str, _argv: list[str], environ: dict[str, str], **options: Any) -> int:
        lock = int(environ["RLM_HOST_LOCK"])
        handed.append((os.get_inheritable(lock), (os.POSIX_SPAWN_DUP2, lock, lock) in options["file_actions"]))
        return really("/bin/true", ["true"], {})

    monkeypatch.setattr(os, "posix_spawn", spawn)
    assert front.ours("starting")["start"](place) is True
    assert handed == [(False, True)]


def test_a_host_that_cannot_be_started_is_told_with_the_reason(short_dir: Path) -> None:
    """And not as one that was slow to answer: an environment may be removed while its server is configured still."""
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    place.host = [str(short_dir / "python"), *place.host[1:]]
    assert place.connect(60) is None
    with pytest.raises(FileNotFoundError, match="python"):
        front.ours("starting")["start"](place)


@pytest.mark.parametrize("command", ["kill -KILL $$", "exit 137"])
def test_a_host_that_is_killed_before_it_listens_counts_as_one_that_was_started(short_dir: Path, command: str) -> None:
    """Be that the process that was started, or the child that it leaves: whoever looks next starts another."""
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    place.host = ["/bin/sh", "-c", command]
    assert place.connect(60) is None
    assert front.ours("starting")["start"](place) is True


def test_a_host_that_gives_up_before_it_listens_is_none(short_dir: Path) -> None:
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    place.host = ["/bin/sh", "-c", "exit 1"]
    assert place.connect(60) is None
    with pytest.raises(NoHost, match="none can be started"):
        front.ours("starting")["start"](place)


def test_another_confinement_has_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place({**HOME}).socket
    own = front.confinement("self")
    for name in own:
        monkeypatch.setattr(front, "confinement", lambda _pid, name=name: {**own, name: "otherwise"})
        assert Place({**HOME}).socket != here, name


def test_the_name_of_a_socket_ends_with_the_version_and_fits_into_an_address() -> None:
    place = Place({**HOME})
    assert place.socket.endswith(f"-{__version__}.sock")
    assert len(os.fsencode(place.socket)) < 100


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"XDG_STATE_HOME": "/var/state"},
        {"XDG_STATE_HOME": "relative"},
        {"RLM_STATE_DIR": "/srv/rlm"},
        {"RLM_STATE_DIR": "below/here"},
        {"RLM_STATE_DIR": "~/records"},
    ],
)
def test_a_front_finds_the_records_where_the_settings_find_them(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"HOME": str(tmp_path), **environ}
    assert front.state_dir(given) == os.path.realpath(load_settings(tmp_path, given).state_dir)


def test_without_a_directory_or_a_socket_nobody_serves(tmp_path: Path) -> None:
    assert place_in(tmp_path / "none").connect(60) is None
    (tmp_path / "own").mkdir(mode=0o700)
    assert place_in(tmp_path / "own").connect(60) is None


def test_a_socket_at_which_nobody_listens_is_a_dead_host_s(short_dir: Path) -> None:
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(place.socket)
    assert place.connect(60) is None
    assert Path(place.socket).is_socket()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o777])
def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(NoHost, match="not a directory of this user alone"):
        place_in(tmp_path).connect(60)


def test_a_link_to_a_directory_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("own")
    with pytest.raises(NoHost, match="not a directory of this user alone"):
        place_in(tmp_path / "link").connect(60)


def test_what_is_no_socket_is_left_where_it_lies(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place = place_in(tmp_path)
    Path(place.socket).write_text("something of the user's", encoding="ascii")
    with pytest.raises(NoHost, match="not a socket of this user"):
        place.connect(60)
    assert Path(place.socket).read_text(encoding="ascii") == "something of the user's"


def test_a_link_to_a_socket_is_left_where_it_lies(short_dir: Path) -> None:
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    Path(place.socket).symlink_to("elsewhere")
    with pytest.raises(NoHost, match="not a socket of this user"):
        place.connect(60)
    assert Path(place.socket).is_symlink()


def test_a_directory_that_may_not_be_searched_is_no_reason_to_start_a_host(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    for level in tmp_path.parents:
        if level.stat().st_uid == os.geteuid() and str(level).startswith("/tmp/"):
            level.chmod(0o711)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o000)
    place = place_in(closed / "below")
    with without_root_rights(closed), pytest.raises(PermissionError):
        place.connect(60)


def test_a_foreign_directory_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place = place_in(tmp_path)
    found = tmp_path.stat()
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    else:
        place.directory = "/"
    with pytest.raises((NoHost, PermissionError)):
        place.connect(60)
    if os.geteuid() == 0:
        os.chown(tmp_path, found.st_uid, found.st_gid)


def test_a_socket_of_another_user_is_no_host_and_stays(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_dir.chmod(0o700)
    place = place_in(short_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place.socket)
        listener.listen()
        lstat = os.lstat

        def of_another(path: str) -> os.stat_result:
            found = list(lstat(path))
            if path == place.socket:
                found[stat.ST_UID] += 1
            return os.stat_result(found)

        monkeypatch.setattr(os, "lstat", of_another)
        with pytest.raises(NoHost, match="is not a socket of this user"):
            place.connect(60)
        assert Path(place.socket).is_socket()


def test_a_process_of_another_user_that_listens_is_no_host(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    pidfd = os.pidfd_open(os.getpid())
    with pytest.raises(NoHost, match=f"process {os.getpid()}, which listens, belongs to another user"):
        place.look_at(os.getpid(), os.getuid() + 1, pidfd)
    os.close(pidfd)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_who_may_not_connect_starts_no_host_and_removes_nothing(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A sandbox says so (seccomp, Landlock): the host lives, and is not this client's."""
    short_dir.chmod(0o700)
    place = place_in(short_dir)

    class Refused(_socket.socket):
        def connect(self, _address: object) -> None:
            raise OSError(number, os.strerror(number))

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place.socket)
        listener.listen()
        monkeypatch.setattr(_socket, "socket", Refused)
        with pytest.raises(PermissionError):
            place.connect(60)
        monkeypatch.undo()
        assert Path(place.socket).is_socket()


def test_options_are_variables_and_stand_above_them() -> None:
    read = front.ours("options")["with_options"]
    argv = ["--max-sessions", "5", "--state-dir=/x=y", "--imports", "", "--kernel="]
    environ, given = read({"RLM_MAX_SESSIONS": "3", "HOME": "/"}, argv)
    assert environ == {
        "RLM_MAX_SESSIONS": "5",
        "RLM_STATE_DIR": "/x=y",
        "HOME": "/",
        "RLM_IMPORTS": "",
        "RLM_KERNEL": "",
    }
    assert given == ["RLM_MAX_SESSIONS", "RLM_STATE_DIR", "RLM_IMPORTS", "RLM_KERNEL"]


@pytest.mark.parametrize(
    "argv", [["sessions"], ["--help"], ["-h"], ["--max-sessions"], ["--max-sessions", "--kernel"], ["--=3"], ["--"]]
)
def test_what_is_no_option_with_a_value_is_left_to_the_command_line(argv: list[str]) -> None:
    with pytest.raises(NoHost):
        front.ours("options")["with_options"]({}, argv)
