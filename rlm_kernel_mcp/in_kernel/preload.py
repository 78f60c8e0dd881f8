"""What a kernel imports before its walls rise.

Is: IPython's kernel, the modules of the allowlist and the late imports of the machinery, so that nothing has to be
mapped from disk afterwards: an extension module cannot be, once executable memory is refused. Is not: a wall.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

LATE: Final = (
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.displayhook",
    "IPython.core.history",
    "IPython.core.logger",
    "IPython.core.magics",
    "IPython.core.magics.basic",
    "IPython.core.magics.execution",
    "IPython.core.magics.namespace",
    "IPython.core.oinspect",
    "IPython.core.page",
    "IPython.lib.pretty",
    "ahocorasick_rs",
    "bdb",
    "concurrent.futures.thread",
    "encodings.idna",
    "faulthandler",
    "ipykernel.debugger",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "linecache",
    "mmap",
    "pkgutil",
    "pydoc",
    "pygments.formatters.terminal256",
    "pygments.styles",
    "queue",
    "re2",
    "sqlite3",
    "timeit",
    "tornado.platform.asyncio",
    "traceback",
    "unicodedata",
    "zmq.eventloop.zmqstream",
)
"""Modules that IPython and asyncio import when something is used for the first time."""
OURS: Final = ("rlm_kernel_mcp.in_kernel.ipython.app", "rlm_kernel_mcp.in_kernel.channels.figures")


def preload(policy: dict[str, Any]) -> None:
    """Import the machinery and the policy's modules, and make the shell; makes no thread, socket or event loop.

    A module of the policy that this Python does not have is left out: importing it in a step then says so.
    """
    # debugpy costs 28 ms and 6 MB and opens sockets; with `None` ipykernel does without its debugger.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    for name in LATE:
        importlib.import_module(name)
    for name in OURS:
        importlib.import_module(name)
    for name in (*policy["imports"]["modules"], *policy["imports"]["preload"]):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    from rlm_kernel_mcp.in_kernel.ipython.app import make_shell
    from rlm_kernel_mcp.in_kernel.namespace.mapped_text import why_not

    why_not()  # tried here, once for all forks
    make_shell()
