"""A process that outlives this one by a moment, to remove what this one leaves when it is killed.

Is: its start and its end. Is not: what it removes, which its command line says.
Above: `run_dir.py`, `kernel/placement/container/runtime.py`. Below: subprocess.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class Reaper:
    """Its input is a pipe that nobody writes to, so that it ends when this process does, however that happens."""

    def __init__(self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None) -> None:
        """Start it; `cwd` and `env` as subprocess takes them."""
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            env=env,
            start_new_session=True,  # a signal to this process's group is not meant for it
        )

    def stop(self) -> None:
        """End it: there is nothing left to remove."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
