"""The server of `lab`: jupyter_server and JupyterLab, from which nothing that is not locked can be reached.

Is: which of jupyter_server there is: no terminals, no extension but JupyterLab in its core, no configuration but ours,
kernels from our kernelspecs alone, and a directory of its own for documents. Is not: what passes between a page and a
kernel (`channels.py`). Above: `program.py`. Below: `channels.py`, `kernels.py`, jupyter_server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_server.base.handlers import Template404
from jupyter_server.serverapp import ServerApp
from traitlets.config import Config

from rlm_kernel_mcp.kernel.placement.kernelspec import kernelspec_dir, kernelspecs_left_out
from rlm_kernel_mcp.lab.channels import LockedChannels
from rlm_kernel_mcp.lab.kernels import KERNEL_NAME, LOCKED, LiveKernels

PING_MS: Final = 30_000
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
"""What a browser lets a page ask for: this server. A second line, behind what is taken out of messages; JupyterLab's
own page has scripts within it."""

TAKEN_AWAY: Final = ("/lab/api/build",)
"""JupyterLab builds itself anew by it, of what the network has, in its core too."""


class LockedKernelspecs(KernelSpecManager):
    """Our own kernelspecs, and no others, whatever is installed for other servers."""

    def _kernel_dirs_default(self) -> list[str]:
        return [str(kernelspec_dir())]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec. Raises: NoSuchKernel, also for what is not allowed."""
        if kernel_name not in self.allowed_kernelspecs:
            raise NoSuchKernel(kernel_name)
        return super().get_kernel_spec(kernel_name)


class LockedServer(ServerApp):  # type: ignore[misc]  # jupyter_server is not installed everywhere
    """jupyter_server with the parts that JupyterLab needs for kernels and documents."""

    default_services = ("api", "auth", "config", "contents", "kernels", "kernelspecs", "security", "sessions",
                        "shutdown", "events")  # fmt: skip
    """Not `files`, `view` and `nbconvert`, which serve documents as pages."""

    @property
    def config_file_paths(self) -> list[str]:
        """Nowhere: what is configured for other servers of this user or machine is not for this one."""
        return []

    def init_webapp(self) -> None:
        """Make the routes: extensions add theirs behind those of ours that are nothing."""
        super().init_webapp()
        self.web_app.add_handlers(".*$", [(path, Template404) for path in TAKEN_AWAY])


def configuration(own: Path, documents: Path, state_dir: Path) -> Config:
    """All that is set. `own`: a directory for what the server keeps while it runs."""
    config = Config()
    config.ServerApp = Config(
        allow_root=True,
        ip="127.0.0.1",
        local_hostnames=["localhost"],
        allow_remote_access=False,
        root_dir=str(documents),
        default_url="/lab",
        jpserver_extensions={"jupyterlab": True},
        terminals_enabled=False,
        kernel_manager_class=LiveKernels,
        kernel_spec_manager_class=LockedKernelspecs,
        kernel_websocket_connection_class=LockedChannels,
        extra_services=["rlm_kernel_mcp.lab.actions"],
        tornado_settings={"headers": {"Content-Security-Policy": POLICY}},
        cookie_secret_file=str(own / "cookie"),
        websocket_ping_interval=PING_MS,
        websocket_ping_timeout=PING_MS,
    )
    config.LabApp = Config(
        core_mode=True,
        labextensions_path=[],  # core mode has no extensions but those that are installed beside it
        user_settings_dir=str(_wishes(own / "settings")),
        workspaces_dir=str(own / "workspaces"),
    )
    config.LockedKernelspecs = Config(
        allowed_kernelspecs=set(LOCKED - kernelspecs_left_out().keys()), ensure_native_kernel=False
    )
    config.LiveKernels = Config(
        state_dir=str(state_dir), default_kernel_name=KERNEL_NAME, buffer_offline_messages=False
    )
    config.FileContentsManager = Config(delete_to_trash=False, allow_hidden=False)
    return config


def _wishes(directory: Path) -> Path:
    """What a person would be asked: whether news and versions are looked for on other machines. They are not."""
    file = directory / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
    return directory


def made(config: Config, **more: Any) -> LockedServer:
    """The server, which listens from now on. `more`: what the person wants of it."""
    config.ServerApp.update(more)
    server = LockedServer(config=config)
    server.initialize(argv=[], find_extensions=False)
    return server
