"""What is longer than a screen, by the user's own pager.

Is: PAGER as other programs take it, or `less` with colours, which ends at once where all fits. Is not: the text, which
comes safe. Above: `trace.py`. Below: `terminal.py`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Final

from rlm_kernel_mcp.commands.showing.terminal import is_terminal

LESS: Final = "FRX"
"""Its options where the user has set none: end where all fits, take colours, leave the text on the screen."""


@contextmanager
def paged() -> Iterator[None]:
    """What is printed meanwhile goes to the pager, which may be left before the end; where there is none, on."""
    argv = _pager()
    if argv is None:
        yield
        return
    environ = {"LESS": LESS, **os.environ}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, encoding="utf-8", errors="backslashreplace", env=environ) as run:
        assert run.stdin is not None
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's: it would go on without us
        try:
            with redirect_stdout(run.stdin):
                yield
        except BrokenPipeError:
            pass  # the reader has seen enough
        finally:
            with suppress(BrokenPipeError):
                run.stdin.close()
            run.wait()
            signal.signal(signal.SIGINT, before)


def _pager() -> list[str] | None:
    """What to run; None: no pager is wanted, or none is there."""
    if not is_terminal(sys.stdin, sys.stdout) or os.environ.get("TERM", "dumb") == "dumb":
        return None
    wanted = os.environ.get("PAGER")
    try:
        argv = ["less"] if wanted is None else shlex.split(wanted)
    except ValueError:
        return None
    return argv if argv and argv[0] != "cat" and shutil.which(argv[0]) else None
