"""What a kernel imports before its walls rise.

Is: IPython's kernel, the modules of the allowlist and the late imports of the machinery, so that nothing has to be
mapped from disk afterwards: an extension module cannot be, once executable memory is refused. What the policy has
imported at first use is hidden meanwhile. Is not: a wall. Above: `launch.py`, `fork_server.py`. Below:
`libraries/`, `tables/`, `in_kernel/ipython/app.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.libraries import random_numbers
from rlm_kernel_mcp.in_kernel.libraries.hidden import hidden
from rlm_kernel_mcp.in_kernel.libraries.one_thread import require_one_thread
from rlm_kernel_mcp.in_kernel.libraries.settings import own_settings

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
MISSING: Final = (
    "the policy needs the module {name!r}, which this Python cannot import ({why}). Install it where the server runs: "
    "for rlm-python-data this package with its extra [data] (checkout: bin/setup --with data; container mode: "
    "bin/build-image --data). Or choose another kernelspec (RLM_KERNEL)."
)
OURS: Final = ("rlm_kernel_mcp.in_kernel.ipython.app", "rlm_kernel_mcp.in_kernel.channels.figures")


class ModuleMissing(Exception):
    """A module that the policy needs is not there."""


def preload(policy: dict[str, Any]) -> None:
    """Import the machinery and the policy's modules, and make the shell; makes no thread, socket or event loop.

    A module of the policy that this Python does not have is left out: importing it in a step then says so.

    Raises:
        ModuleMissing: there is no module that the policy needs.
        ThreadStarted: a module started a thread.
    """
    # debugpy costs 28 ms and 6 MB and opens sockets; with `None` ipykernel does without its debugger.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    for name in LATE:
        importlib.import_module(name)
    for name in OURS:
        importlib.import_module(name)
    require_one_thread("what every kernel imports")
    _import_of_policy(policy["imports"])
    random_numbers.note()
    if "pandas" in sys.modules:
        from rlm_kernel_mcp.in_kernel.tables import writing  # 4 ms, which no other kernel has to pay

        writing.note()
    from rlm_kernel_mcp.in_kernel.ipython.app import make_shell
    from rlm_kernel_mcp.in_kernel.namespace.mapped_text import why_not

    why_not()  # tried here, once for all forks
    make_shell()


def _import_of_policy(imports: dict[str, Any]) -> None:
    named = (*imports["modules"], *imports["preload"])
    later, needed = imports.get("at_first_use", ()), imports.get("needed", ())
    with own_settings(named), hidden(later):
        for name in named:
            try:
                importlib.import_module(name)
            except ImportError as error:
                if name in needed and name not in later:
                    raise ModuleMissing(MISSING.format(name=name, why=error)) from error
                continue
            require_one_thread(name)
    for name in later:
        if name in needed and importlib.util.find_spec(name) is None:
            raise ModuleMissing(MISSING.format(name=name, why="it is not installed"))
