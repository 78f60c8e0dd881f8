"""Removes the containers that a dead server left.

Is: by the label that names the server's run folder, once that folder's lock is free; never by a container's name.
Is not: the life of a container (`container_launch.py`). Above: `rundir.py`. Below: `container.py`.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.kernel.container import ContainerRuntime, list_argv, remove_argv

log = logging.getLogger(__name__)
FILE_NAME: Final = "container-runtime.json"
ANSWER_S: Final = 10.0


def remember_runtime(run_dir: Path, runtime: ContainerRuntime) -> None:
    """Write down which engine has this server's containers."""
    record = {"name": runtime.name, "program": runtime.program}
    (run_dir / FILE_NAME).write_text(json.dumps(record), encoding="utf-8")


def remove_left_containers(run_dir: Path) -> bool:
    """Remove what a dead server's engine still has of it; blocking.

    Returns:
        False where the engine could not be asked: the folder must stay, so that the next start asks again.
    """
    try:
        record = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        name, program = record["name"], record["program"]
    except (FileNotFoundError, ValueError, KeyError):
        return True  # a server in process mode, or one that ended while it wrote this, before its first container
    try:
        left = _ask(list_argv(program, str(run_dir))).split()
        if left:
            _ask(remove_argv(name, program, left))
            log.warning("removed %d containers that a server left", len(left))
    except FileNotFoundError:
        return True  # the engine was uninstalled, and took them along
    except subprocess.SubprocessError as error:
        log.warning("the containers of a server that ended are still to be removed: %s", error)
        return False
    return True


def _ask(argv: Sequence[str]) -> str:
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=ANSWER_S
    ).stdout
