"""`rlm-kernel-mcp lab`: JupyterLab on the kernels of live sessions.

Is: an environment without any of Jupyter's settings, and a directory for the server, which this process becomes; or the
lines by which another Jupyter server lists the same kernels. Is not: the server (`lab/`). Above: `cli.py`. Below:
settings. It ends in `lab/program.py`, a program of its own.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Final, NoReturn

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import Settings

NEEDED: Final = ("jupyterlab", "jupyter_server")
JUPYTERS: Final = "JUPYTER"
"""How the variables begin by which Jupyter's programs are set: none of them is for this server."""
LINES: Final = """\
# The kernels of live rlm-kernel-mcp sessions in a Jupyter server of your own, which VS Code calls an existing server:
# put these lines into its jupyter_server_config.py. It needs rlm-kernel-mcp in its environment.
# In such a server the output of a locked kernel acts with that server's rights. What else can be reached from its pages
# (your files, its extensions, other kernels) is that server's matter, and outside of what rlm-kernel-mcp promises;
# `rlm-kernel-mcp lab` is the server for which it does.
c.ServerApp.kernel_manager_class = "rlm_kernel_mcp.lab.kernels.LiveKernels"
c.ServerApp.kernel_websocket_connection_class = "rlm_kernel_mcp.lab.channels.LockedChannels"
c.ServerApp.extra_services = ["rlm_kernel_mcp.lab.actions"]
c.ServerApp.terminals_enabled = False
c.KernelSpecManager.allowed_kernelspecs = {{"rlm-python", "rlm-python-data"}}
c.KernelSpecManager.ensure_native_kernel = False
c.LiveKernels.state_dir = {state_dir!r}
c.LiveKernels.default_kernel_name = "rlm-python"
c.LiveKernels.buffer_offline_messages = False
"""


def lab(settings: Settings, environ: Mapping[str, str], port: int, *, browser: bool, only_print: bool) -> int:
    """Become the server, or print the lines for another.

    Raises:
        InvalidInput: JupyterLab is not installed.
    """
    if not only_print:
        _become_server(settings, environ, port, browser=browser)
    print(LINES.format(state_dir=str(settings.state_dir)), end="")
    return 0


def _become_server(settings: Settings, environ: Mapping[str, str], port: int, *, browser: bool) -> NoReturn:
    if any(importlib.util.find_spec(package) is None for package in NEEDED):
        raise InvalidInput(
            "JupyterLab is not installed where this command runs.",
            f"Install the extra [lab] of this package, or: {sys.executable} -m pip install jupyterlab",
        )
    own = tempfile.mkdtemp(prefix="rlm-lab-")
    kept = {name: value for name, value in environ.items() if not name.startswith(JUPYTERS)}
    ours = {
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_DATA_DIR": os.path.join(own, "data"),  # noqa: PTH118  (a text of the environment)
        "JUPYTER_RUNTIME_DIR": os.path.join(own, "run"),  # noqa: PTH118  (as above)
    }
    # -P: a module in the working directory must not replace the server's own.
    argv = [sys.executable, "-P", "-m", "rlm_kernel_mcp.lab.program", "--own", own]
    argv += ["--state-dir", str(settings.state_dir), "--port", str(port), *["--browser"] * browser]
    sys.stdout.flush()
    os.execve(sys.executable, argv, {**kept, **ours})  # noqa: S606 - no shell is the point
