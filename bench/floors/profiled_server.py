"""Our server, which profiles itself and its kernels between two signals. A program; `parts.py` starts it.

The first SIGUSR1 begins, the second ends; at the process's end the profile is in the file that PROFILE names. Its
kernels are forked by `profiled_kernels.py`.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
import time
from typing import NoReturn

from rlm_kernel_mcp.cli import main
from rlm_kernel_mcp.kernel.placement import forked

PROFILE = "RLM_BENCH_PROFILE"


def run() -> NoReturn:
    """Serve until the input ends."""
    # The time on a processor, so that no wait counts.
    profile = cProfile.Profile(time.thread_time)
    end, running = os._exit, False

    def toggle(_number: int, _frame: object) -> None:
        nonlocal running
        running = not running
        (profile.enable if running else profile.disable)()

    def end_with_profile(status: int) -> NoReturn:
        profile.disable()
        profile.dump_stats(os.environ[PROFILE])
        end(status)

    os._exit = end_with_profile
    signal.signal(signal.SIGUSR1, toggle)
    forked.MODULE = "bench.floors.profiled_kernels"  # type: ignore[misc]  # final for everybody else
    sys.argv = ["rlm-kernel-mcp", "serve"]
    sys.exit(main())


if __name__ == "__main__":
    run()
