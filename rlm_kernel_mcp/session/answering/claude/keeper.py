"""Keeps one run of `claude`: when its host lets go of it, or ends in any way, nothing of the run is left.

Is: a program of its own, `python -I -S keeper.py DESCRIPTOR DIRECTORY COMMAND...`, with the standard library alone. It
starts the command in a new, empty directory beside one for its temporary files, adopts whatever that leaves behind, and
kills all of it when the command has ended or the descriptor, a pipe that nobody writes to, has; then it removes both.
Is not: what the command is told or says (`run.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127
KEEPER_FAILED = 125
"""Of ours, and none of the command's."""
WORK, TEMPORARY = "work", "tmp"


def main(lifeline: int, directory: str, command: list[str]) -> int:
    """Run the command; its exit status, as a shell reports it."""
    libc = ctypes.CDLL(None, use_errno=True)
    ends = select.poll()  # any number may be watched by it, and the lifeline has the one that it has in the host
    ends.register(lifeline, select.POLLIN)
    if ends.poll(0) or libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        return KEEPER_FAILED
    os.set_inheritable(lifeline, False)
    os.mkdir(directory, 0o700)
    try:
        for name in (WORK, TEMPORARY):
            os.mkdir(f"{directory}/{name}", 0o700)
        keeper = os.getpid()
        pid = os.fork()
        if not pid:
            become(libc, keeper, directory, command)
        let_go_of_streams()
        ends.register(os.pidfd_open(pid), select.POLLIN)
        ends.poll()
        return end_all(pid)
    finally:
        remove(directory)


def become(libc: ctypes.CDLL, keeper: int, directory: str, command: list[str]) -> None:
    """Be the command, which dies with the keeper. Does not return."""
    try:
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == keeper:  # else it has ended before the line above
            os.chdir(f"{directory}/{WORK}")
            os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"it cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def let_go_of_streams() -> None:
    """They are the command's alone: its output ends with it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def end_all(pid: int) -> int:
    """Kill the command and all that is left below us; the command's exit status."""
    status = CANNOT_RUN
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while True:
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            ended, how = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if ended == pid:
            code = os.waitstatus_to_exitcode(how)
            status = code if code >= 0 else 128 - code


def children() -> list[int]:
    """Processes whose parent we are; one whose own parent has just been killed is among them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has just ended
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(name))
    return found


def remove(directory: str) -> None:
    """Remove all of it; links are removed and never followed."""
    for _, directories, files, here in os.fwalk(directory, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=here)
        for name in directories:
            try:
                os.rmdir(name, dir_fd=here)
            except NotADirectoryError:
                os.unlink(name, dir_fd=here)
    os.rmdir(directory)


if __name__ == "__main__":
    status = KEEPER_FAILED
    with contextlib.suppress(OSError):  # what the command said on its standard error is its own
        status = main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    sys.exit(status)
