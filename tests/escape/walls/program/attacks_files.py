"""Attacks on files outside the scratch directory."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import socket
from pathlib import Path
from typing import IO

from tests.escape.walls.program.targets import Targets, call

MADV_PAGEOUT = 21


def read_the_canary(targets: Targets) -> str:
    return Path(targets.canary_file).read_text(encoding="utf-8")


def read_the_users(targets: Targets) -> str:
    return Path("/etc/passwd").read_text(encoding="utf-8")


def list_the_root(targets: Targets) -> list[str]:
    return os.listdir("/")


def list_the_canary_directory(targets: Targets) -> list[str]:
    return os.listdir(targets.canary_dir)


def read_own_environment_from_proc(targets: Targets) -> bytes:
    return Path("/proc/self/environ").read_bytes()


def read_the_peers_memory_map(targets: Targets) -> str:
    return Path(f"/proc/{targets.peer_pid}/maps").read_text(encoding="utf-8")


def reach_the_root_through_a_process(targets: Targets) -> list[str]:
    return os.listdir(f"/proc/{targets.peer_pid}/root/")


def overwrite_the_canary(targets: Targets) -> None:
    Path(targets.canary_file).write_text("overwritten", encoding="utf-8")


def truncate_the_canary_by_path(targets: Targets) -> None:
    os.truncate(targets.canary_file, 0)


def remove_the_canary(targets: Targets) -> None:
    os.unlink(targets.canary_file)


def rename_the_canary(targets: Targets) -> None:
    os.rename(targets.canary_file, targets.canary_file + ".moved")


def pull_the_canary_into_scratch(targets: Targets) -> None:
    os.rename(targets.canary_file, targets.scratch + "/pulled")


def link_the_canary_into_scratch(targets: Targets) -> None:
    os.link(targets.canary_file, targets.scratch + "/linked")


def write_a_new_file_beside_it(targets: Targets) -> None:
    Path(targets.canary_dir, "new").write_text("x", encoding="utf-8")


def make_a_directory_beside_it(targets: Targets) -> None:
    os.mkdir(targets.canary_dir + "/directory")


def make_a_device(targets: Targets) -> None:
    os.mknod(targets.scratch + "/disk", 0o60600, os.makedev(8, 0))


def make_a_pipe_in_scratch(targets: Targets) -> None:
    os.mkfifo(targets.scratch + "/pipe")


def make_a_symbolic_link_in_scratch(targets: Targets) -> None:
    os.symlink(targets.canary_dir, targets.scratch + "/link")


def change_the_canarys_mode_by_path(targets: Targets) -> None:
    os.chmod(targets.canary_file, 0o777)


def change_the_canarys_owner_by_path(targets: Targets) -> None:
    os.chown(targets.canary_file, os.getuid(), os.getgid())


def change_the_canarys_times_by_path(targets: Targets) -> None:
    os.utime(targets.canary_file, (1, 1))


def change_the_canary_directories_times_by_path(targets: Targets) -> None:
    os.utime(targets.canary_dir, (1, 1))


def set_an_attribute_on_the_canary_by_path(targets: Targets) -> None:
    os.setxattr(targets.canary_file, "user.mark", b"x")


def open_the_canary_as_a_path_and_change_it(targets: Targets) -> None:
    descriptor = os.open(targets.canary_file, os.O_PATH)
    call("fchmod", descriptor, 0o777)


def write_into_the_python_installation(targets: Targets) -> None:
    Path(os.__file__).with_name("planted.py").write_text("x", encoding="utf-8")


def change_the_mode_of_the_python_installation(targets: Targets) -> None:
    os.chmod(os.__file__, 0o666)


def write_beside_the_sockets(targets: Targets) -> None:
    Path(targets.socket_dir, "planted").write_text("x", encoding="utf-8")


def rewrite_the_connection_file(targets: Targets) -> None:
    Path(targets.socket_dir, "kernel.json").write_text("{}", encoding="utf-8")


def replace_the_connection_file(targets: Targets) -> None:
    os.rename(targets.scratch + "/honest.txt", targets.socket_dir + "/kernel.json")


def remove_a_socket(targets: Targets) -> None:
    os.unlink(targets.socket_dir + "/s-1")


def change_the_mode_of_the_sockets_directory(targets: Targets) -> None:
    os.chmod(targets.socket_dir, 0o777)


def bind_another_socket(targets: Targets) -> None:
    ours, _ = socket.socketpair()
    ours.bind(targets.socket_dir + "/s-2")


def run_a_program_from_scratch(targets: Targets) -> None:
    shutil.copyfile("/usr/lib/os-release", targets.scratch + "/program")
    os.execv(targets.scratch + "/program", ["program"])


def lock_a_shared_file(targets: Targets) -> None:
    """What may be read is the machine's own: its programs would wait for this lock."""
    with _shared() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_a_shared_file_for_reading(targets: Targets) -> None:
    with _shared() as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def lock_the_bytes_of_a_shared_file(targets: Targets) -> None:
    with _shared() as file:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def take_a_lease_on_a_shared_file(targets: Targets) -> None:
    with _shared() as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def be_told_of_what_changes_in_a_shared_directory(targets: Targets) -> None:
    directory = os.open(os.path.dirname(os.__file__), os.O_RDONLY)
    try:
        fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_ACCESS)
    finally:
        os.close(directory)


def drop_what_is_cached_of_a_shared_file(targets: Targets) -> None:
    with _shared() as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def put_out_the_pages_of_a_shared_file(targets: Targets) -> None:
    with _shared() as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as pages:
        pages.madvise(MADV_PAGEOUT)


def _shared() -> IO[bytes]:
    return Path(os.__file__).open("rb")
