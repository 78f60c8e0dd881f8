"""Removes the containers that dead servers left.

Is: by the label that names a server's run directory, once that directory's lock is free; never by a container's name.
Is not: the life of a container (`launch.py`). Above: `kernel/placement/run_dir.py`. Below: `arguments.py`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime, list_argv, remove_argv

log = logging.getLogger(__name__)
FILE_NAME: Final = "container-runtime.json"
ENGINE_S: Final = 10.0
"""How long one engine may take for all that it is asked here, however many directories there are."""
ENGINES_AT_ONCE: Final = 8
ASKS: Final = 5
"""How often an engine is asked that fails: podman cannot list containers while one is being removed."""
ASK_AGAIN_S: Final = 0.2


def remember_runtime(run_dir: Path, runtime: ContainerRuntime) -> None:
    """Write down which engine has this server's containers."""
    record = {"name": runtime.name, "program": runtime.program}
    (run_dir / FILE_NAME).write_text(json.dumps(record), encoding="utf-8")


def may_have_containers(run_dir: Path) -> bool:
    """Whether an engine must be asked before this directory may go."""
    return (run_dir / FILE_NAME).exists()


def without_containers(run_dirs: Iterable[Path]) -> list[Path]:
    """Remove what is left of the containers of these dead servers' directories; returns those with none left. Blocking.

    Takes at most `ENGINE_S`, since all engines are asked at the same time. A directory whose engine does not answer is
    not returned: it must stay, so that a later start asks again.
    """
    free, by_engine = [], dict[str, list[_Left]]()
    for run_dir in run_dirs:
        left = _recorded(run_dir)
        if left is None:
            free.append(run_dir)
        else:
            by_engine.setdefault(left.program, []).append(left)
    if by_engine:
        with ThreadPoolExecutor(ENGINES_AT_ONCE, "containers") as threads:
            # One thread for each engine: a hung docker must not take the time that podman has.
            for cleaned in threads.map(_cleaned, by_engine.values()):
                free += cleaned
    return free


@dataclass(frozen=True, slots=True)
class _Left:
    run_dir: Path
    name: str
    program: str


def _recorded(run_dir: Path) -> _Left | None:
    """What is recorded of a directory's engine; None in process mode, and where it was being written."""
    try:
        record = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        name, program = record["name"], record["program"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the record of the containers of a server that ended cannot be read: %s", error)
        return None
    if not isinstance(name, str) or not isinstance(program, str):
        log.warning("the record of the containers of a server that ended names no engine")
        return None
    return _Left(run_dir, name, program)


def _cleaned(lefts: Sequence[_Left]) -> list[Path]:
    """The directories of one engine's of which no container is left; one that does not answer is asked no more."""
    deadline = time.monotonic() + ENGINE_S
    free: list[Path] = []
    for left in lefts:
        try:
            _remove(left, deadline)
        except FileNotFoundError:
            pass  # the engine was uninstalled, and its containers with it
        except subprocess.TimeoutExpired:
            log.warning(
                "%s gave no answer within %.0f s: containers of %d servers that ended are still to be removed",
                left.name,
                ENGINE_S,
                len(lefts) - len(free),
            )
            return free
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            log.warning("the containers of a server that ended are still to be removed: %s", error)
            continue
        free.append(left.run_dir)
    return free


def _remove(left: _Left, deadline: float) -> None:
    """Remove a dead server's containers, in as many tries as it takes; raises what the last one did."""
    for asks_left in reversed(range(ASKS)):
        try:
            ids = _ask(list_argv(left.program, str(left.run_dir)), deadline).split()
            if ids:
                _ask(remove_argv(left.name, left.program, ids, some_gone=True), deadline)
                log.warning("removed %d containers that a server left", len(ids))
            return
        except subprocess.CalledProcessError:
            if not asks_left:
                raise
        time.sleep(ASK_AGAIN_S)


def _ask(argv: Sequence[str], deadline: float) -> str:
    left_s = max(0.0, deadline - time.monotonic())
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:
        try:
            out, _ = child.communicate(timeout=left_s)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)  # and what it started, which would hold the pipe open
            raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv[:2])
    return out.decode("utf-8", "replace")
