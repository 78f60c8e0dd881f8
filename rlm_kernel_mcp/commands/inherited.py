"""What a command inherits from whoever started it, reset to what a plain shell would pass on.

Is: signals, mask, umask, standard streams, the soft limit of descriptors; and the working directory, as it is. Is not:
the start of a kernel, which is more thorough (`in_kernel/inherited.py`). SIGHUP, which `nohup` ignores, and a shell's
job control stay as they are. Above: `cli.py`. Below: `errors.py`.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput

LEFT_ALONE: Final = frozenset(
    {
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGPIPE,  # ignored by Python itself, as the next
        signal.SIGXFSZ,
        signal.SIGHUP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
DESCRIPTORS: Final = 65_536
"""The soft limit, where the hard one allows it. A session takes some twenty; 1,024 is for programs that use
select(2)."""
STREAMS: Final = ("stdin", "stdout", "stderr")


def settle() -> frozenset[str]:
    """Undo what was inherited. Call it once, at the start, in the main thread.

    Returns:
        The names of the standard streams that are closed.
    """
    closed = frozenset(name for name in STREAMS if getattr(sys, name) is None)
    for descriptor in range(len(STREAMS)):
        _fill(descriptor)
    if sys.stderr is None:  # else `print(file=sys.stderr)` writes to stdout
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), errors="backslashreplace")
    for number in signal.valid_signals() - LEFT_ALONE:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(os.umask(0o077) & ~0o700)  # what we make must be usable by us
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return closed


def _fill(descriptor: int) -> None:
    """The null device where a standard descriptor is closed: else the next file that is opened would be it."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)


def drop(descriptor: int) -> None:
    """Send what is still to be written there to the null device: Python would try again at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def working_directory() -> Path:
    """Where the command was started, which is its client's. Raises: InvalidInput: it is gone."""
    try:
        return Path.cwd()
    except OSError as error:
        raise InvalidInput(
            f"The working directory cannot be used: {error.strerror}.",
            "Change to a directory that exists, then try again.",
        ) from error
