"""A process that raises the walls around itself and then tries attacks; no IPython, standard library only.

`python -I cage.py SPEC`: SPEC is JSON with the policy, the directories, the targets and the names of the attacks. Lines
on
stdout: what was announced; which walls stand; then one an attack, `[name, kind, text]`: kind `refused` with the errno's
name, `raised`, or `done` with what the attack got. What happened to the targets is looked at from outside.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[4]))

from rlm_kernel_mcp.in_kernel.walls.filters import seccomp
from rlm_kernel_mcp.in_kernel.walls.plan import WallFailed, plan_from_policy
from rlm_kernel_mcp.in_kernel.walls.raising import enter_namespaces, raise_lock_a, raise_lock_b
from tests.escape.walls.program import (
    attacks_files,
    attacks_network,
    attacks_processes,
    attacks_resources,
    attacks_surface,
    honest,
)
from tests.escape.walls.program.hiding import hide
from tests.escape.walls.program.mappings import attacks_memory, attacks_window
from tests.escape.walls.program.targets import Targets

MODULES = (
    attacks_files,
    attacks_memory,
    attacks_network,
    attacks_processes,
    attacks_resources,
    attacks_surface,
    attacks_window,
    honest,
)


def say(value: Any) -> None:
    """One line of JSON; straight to the descriptor, since an attack may have replaced what lies between."""
    os.write(1, json.dumps(value).encode() + b"\n")


def outcome(attack: Callable[[Targets], Any], targets: Targets) -> tuple[str, str]:
    """What became of one attack."""
    try:
        return "done", repr(attack(targets))[:500]
    except OSError as error:
        return "refused", errno.errorcode.get(error.errno or 0, str(error))
    except BaseException as error:  # noqa: BLE001 - whatever an attack raises is its outcome
        return "raised", f"{type(error).__name__}: {error}"[:500]


def announced(pid: int, pidfd: int) -> None:
    """What the host hears of."""
    say(["announced", "pid", str(pid)] if pidfd >= 0 else ["announced", "no pidfd", ""])


def keep_monitor_waiting() -> Callable[[], None]:
    """Before it loads its filter, the monitor looks for a while whether user code runs, and ends in that case.

    Returns:
        What tells it that user code runs now.
    """
    runs = mmap.mmap(-1, 1)
    load = seccomp.load_monitor

    def load_later(own_pid: int, pidfd: int) -> None:
        for _ in range(20):
            if runs[0]:
                os._exit(1)
            time.sleep(0.01)
        load(own_pid, pidfd)

    seccomp.load_monitor = load_later
    return lambda: runs.write_byte(1)


def main(spec: dict[str, Any]) -> None:
    """Raise the walls in the kernel's order, with a listening socket and a thread between the locks, then attack."""
    targets = Targets(**spec["targets"])
    hide(spec["hidden_calls"])
    user_code_runs = keep_monitor_waiting() if spec["slow_monitor"] else None
    if spec["early_thread"]:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    for number in spec["ignored_signals"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, spec["blocked_signals"])
    plan = plan_from_policy(spec["policy"], scratch=targets.scratch, socket_dir=targets.socket_dir)
    try:
        raised = enter_namespaces(plan, announced)
        raise_lock_a(raised)
        honest.initialize(targets)
        raise_lock_b(raised)
    except WallFailed as error:
        say(["failed", error.wall, error.reason])
        os._exit(3)
    if user_code_runs is not None:
        user_code_runs()
    say([[asdict(row) for row in raised.rows], raised.scratch_writable])
    known = {
        f"{module.__name__.rpartition('.')[2]}.{name}": attack
        for module in MODULES
        for name, attack in vars(module).items()
    }
    for name in spec["attacks"]:
        say([name, *outcome(known[name], targets)])
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
