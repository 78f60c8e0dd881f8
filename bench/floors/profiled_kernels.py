"""The fork server, whose kernels profile their main thread from one step to another. A program, run by the server.

What came of it is the value of a name in the session: behind its walls a kernel writes no file.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from typing import Any

from bench.floors.shares import Toll, seconds_by_part
from rlm_kernel_mcp.in_kernel import fork_server
from rlm_kernel_mcp.in_kernel.ipython import process_state
from rlm_kernel_mcp.in_kernel.ipython.kernel import RlmKernel

FIRST, LAST = 50, 550
"""The steps of a session that are profiled."""
NAME = "seconds_by_part"
PARTS = {
    "/asyncio/": "the event loop, with tornado and pyzmq",
    "/selectors.py": "the event loop, with tornado and pyzmq",
    "/tornado/": "the event loop, with tornado and pyzmq",
    "/zmq/": "the event loop, with tornado and pyzmq",
    "/in_kernel/channels/": "messages, read, built, signed and handed on",
    "/jupyter_client/": "messages, read, built, signed and handed on",
    "/ipykernel/": "ipykernel's handling of a request",
    "/IPython/": "IPython, with traitlets and the cell itself",
    "/traitlets/": "IPython, with traitlets and the cell itself",
    "/rlm_kernel_mcp/": "our own: names bound, state put back, limits, snapshots",
}


def install() -> None:
    """Have each kernel profile itself."""
    profile = cProfile.Profile(time.thread_time)  # no wait counts
    dispatch: Any = RlmKernel.dispatch_shell
    served = 0

    async def dispatch_shell(self: Any, *args: Any, **options: Any) -> None:
        nonlocal served
        served += 1
        if served == FIRST:
            profile.enable()
        await dispatch(self, *args, **options)
        if served == LAST:
            profile.disable()
            self.shell.user_ns[NAME] = seconds_by_part(pstats.Stats(profile), PARTS, Toll.measured())

    RlmKernel.dispatch_shell = dispatch_shell  # type: ignore[method-assign]
    vars(process_state)["sys"] = _Sys()  # a step's end would end the profile


class _Sys:
    """`sys` that knows of no profile."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(sys, name, value)

    def getprofile(self) -> None:
        return None


if __name__ == "__main__":
    install()
    fork_server.main()
