"""What a client hands over stands for the right that it showed by opening, and for nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.front.front import PROOF_NAME, NoHost
from rlm_kernel_mcp.host.entry.rights import checked, directories_of

STDIN, STDOUT, STDERR, PAGE, PROOF, CWD, ROOT = range(7)


class Handed:
    """The descriptors of an honest client, of which one may be replaced."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.state = directory / "state"
        self.root = directory / "root"
        self.state.mkdir()
        self.root.mkdir()
        (self.state / PROOF_NAME).touch()
        wires = (*os.pipe(), *os.pipe(), os.memfd_create("page"))
        for descriptor in wires:
            stack.callback(os.close, descriptor)
        streams = (wires[0], wires[1], wires[3], wires[4])
        self.descriptors = [*streams, self.open(self.state / PROOF_NAME, os.O_RDWR)]
        self.descriptors += [self.open(self.root, os.O_RDONLY) for _ in ("cwd", "root")]

    def open(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags)
        self._stack.callback(os.close, descriptor)
        return descriptor

    def with_other(self, place: int, descriptor: int) -> list[int]:
        return [*self.descriptors[:place], descriptor, *self.descriptors[place + 1 :]]


@pytest.fixture
def handed(tmp_path: Path) -> Iterator[Handed]:
    with ExitStack() as stack:
        yield Handed(tmp_path, stack)


def test_an_honest_client_s_directories_have_the_names_that_the_kernel_gives_them(handed: Handed) -> None:
    rights = checked(handed.descriptors, str(handed.state))
    assert rights.cwd == handed.root
    assert rights.roots == ((handed.root, handed.descriptors[ROOT]),)


def test_a_client_without_a_root_is_refused(handed: Handed) -> None:
    with pytest.raises(NoHost, match="6 descriptors"):
        checked(handed.descriptors[:-1], str(handed.state))


def test_a_program_hands_over_the_same_rights_without_streams(handed: Handed) -> None:
    directories = directories_of(handed.descriptors[PROOF:], str(handed.state))
    assert (directories.cwd, directories.roots) == (handed.root, ((handed.root, handed.descriptors[ROOT]),))
    with pytest.raises(NoHost, match="2 descriptors came, and a client has 3 at least"):
        directories_of(handed.descriptors[PROOF:-1], str(handed.state))
    with pytest.raises(NoHost, match="the proof of the records"):
        directories_of(handed.descriptors[CWD:] * 2, str(handed.state))


@pytest.mark.parametrize("place", [CWD, ROOT])
def test_a_mere_place_in_the_tree_is_no_right_to_read_there(handed: Handed, place: int) -> None:
    """O_PATH takes no right to read: who may only name a directory would have the host read in it."""
    claimed = handed.open(handed.root, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(NoHost, match="opened for reading"):
        checked(handed.with_other(place, claimed), str(handed.state))


@pytest.mark.parametrize("place", [CWD, ROOT])
def test_a_file_is_no_root(handed: Handed, place: int) -> None:
    file = handed.open(handed.state / PROOF_NAME, os.O_RDONLY)
    with pytest.raises(NoHost, match="opened for reading"):
        checked(handed.with_other(place, file), str(handed.state))


def test_a_root_that_is_gone_is_accepted_and_allows_nothing(handed: Handed) -> None:
    """A client outlives its host, and a root that was removed meanwhile."""
    handed.root.rmdir()
    handed.root.mkdir()
    rights = checked(handed.descriptors, str(handed.state))
    roots = Roots.of_descriptors(os.dup(descriptor) for _, descriptor in rights.roots)
    with closing(roots), roots.allowed() as allowed:
        assert allowed.paths == ()
        assert len(allowed.lost) == 1


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_PATH])
def test_who_may_not_write_the_records_has_no_use_of_them(handed: Handed, flags: int) -> None:
    proof = handed.open(handed.state / PROOF_NAME, flags)
    with pytest.raises(NoHost, match="the proof of the records"):
        checked(handed.with_other(PROOF, proof), str(handed.state))


def test_another_file_of_the_same_name_proves_nothing(handed: Handed) -> None:
    other = handed.root / PROOF_NAME
    other.touch()
    with pytest.raises(NoHost, match="may use the records of this host"):
        checked(handed.with_other(PROOF, handed.open(other, os.O_RDWR)), str(handed.state))


def test_a_page_that_may_keep_its_writer_waiting_is_refused(handed: Handed) -> None:
    """The host writes there at every message: a socket, a disk or FUSE would hold up everybody."""
    mine, theirs = socket.socketpair()
    with mine, theirs, pytest.raises(NoHost, match="not in memory"):
        checked(handed.with_other(PAGE, mine.fileno()), str(handed.state))


@pytest.mark.parametrize("place", [STDIN, STDOUT])
def test_a_stream_of_the_wrong_direction_is_refused(handed: Handed, place: int) -> None:
    with pytest.raises(NoHost, match="not open as it must be"):
        checked(handed.with_other(place, handed.descriptors[STDOUT if place == STDIN else STDIN]), str(handed.state))


@pytest.mark.parametrize("place", [STDIN, STDOUT, STDERR])
def test_a_stream_that_may_keep_whoever_was_told_to_go_on_is_refused(handed: Handed, place: int) -> None:
    """Another may read between the look at an eventfd and the read: the host, and all of its clients, would wait."""
    counter = os.eventfd(0)
    with ExitStack() as stack:
        stack.callback(os.close, counter)
        with pytest.raises(NoHost, match="is no pipe, socket, terminal, device or file"):
            checked(handed.with_other(place, counter), str(handed.state))


@pytest.mark.parametrize(
    ("kind", "node"), [("nfs4", "file"), ("fuse.sshfs", "file"), ("cifs", "file"), ("fuse", "pipe")]
)
def test_a_stream_of_a_file_system_that_may_never_answer_is_refused(
    handed: Handed, kind: str, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a log below a home directory of the network, whose server is gone, or a named pipe there."""
    if node == "pipe":
        os.mkfifo(handed.root / "log")
    log = handed.open(handed.root / "log", os.O_RDWR | os.O_CREAT)
    found = os.fstat(log).st_dev
    row = f"1 2 {os.major(found)}:{os.minor(found)} / /mnt rw - {kind} server:/home rw\n"
    assert checked(handed.with_other(STDERR, log), str(handed.state)).stderr == log
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_named: row)
    with pytest.raises(NoHost, match=f"{kind}.* may never answer"):
        checked(handed.with_other(STDERR, log), str(handed.state))
