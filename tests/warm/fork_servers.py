"""Fork servers that are forked by a Python which has preloaded what kernels need, for the registries of a worker.

A start takes a third of a second of processor time, nearly all of it to preload, and tests open a hundred registries.
Is: the product's program, started by the product's code, a process for each registry that ends with it. Is not: a child
of the process that asked for it, or a start as a user has it: `started()` is for tests of that. A server in a process
of its own starts its own.
"""

from __future__ import annotations

import os
import subprocess
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from rlm_kernel_mcp.kernel.placement import forked
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from tests.warm.python import Forked, WarmPython

PRELOADED: Final = """
import json
import rlm_kernel_mcp.in_kernel.fork_server
from rlm_kernel_mcp.in_kernel.preload import preload
with open({policy!r}, encoding="utf-8") as file:
    preload(json.load(file))
"""


class _Used:
    """The Python that forks them, if one has been needed."""

    python: WarmPython | None = None


def use() -> None:
    """From now on fork servers are forked in this process: for a worker of many tests (`tests/conftest.py`)."""
    _everywhere.start()


def stop_using() -> None:
    """What was forked has ended by now, each with its registry."""
    _everywhere.stop()
    if _Used.python is not None:
        _Used.python.close()
    _Used.python = None


@contextmanager
def forking() -> Iterator[None]:
    """Meanwhile they are forked, wherever this is."""
    with patch.object(forked, "subprocess", _STAND_IN):
        yield


@contextmanager
def started() -> Iterator[None]:
    """Meanwhile they are started as ever."""
    with patch.object(forked, "subprocess", subprocess):
        yield


def _popen(command: Sequence[str], *, stdin: int, env: Mapping[str, str], cwd: str, **rest: object) -> Forked:
    """As `subprocess.Popen` of what `ForkServer.start` asks for."""
    if _Used.python is None:
        policy = locked_kernelspec("rlm-python") / "policy.json"
        # The C library reads its settings in the environment when a process begins.
        _Used.python = WarmPython(PRELOADED.format(policy=str(policy)), env)
    _, option, *arguments, parent = command
    assert (option, parent) == ("-I", str(os.getpid())), command
    assert rest == {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    errors, their_errors = os.pipe()
    try:
        with Path(os.devnull).open("wb") as nothing:
            files = (stdin, nothing.fileno(), their_errors)
            arguments = [*arguments, str(_Used.python.pid)]
            process = _Used.python.start(arguments, files, env=env, cwd=cwd, kind="daemon")
    finally:
        os.close(their_errors)
    process.stderr = os.fdopen(errors, "rb")
    return process


_STAND_IN: Final = types.SimpleNamespace(Popen=_popen, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
_everywhere = patch.object(forked, "subprocess", _STAND_IN)
