"""The one builder of kernels: program, arguments, environment and files, whoever starts one.

Is: what a kernel is started with, as data, and the files that it reads; from these the kernel grants itself what it may
see (`in_kernel/launch.py`). Is not: a process. Above: `provisioner.py`, for our own host and for every other
Jupyter client; `kernel/starter.py`, `foreign_client.py`. Below: `base.py`, the policy, the settings. What differs
between the two is `Order.owned`, and nothing else; `Order.notebook` is of a client that runs a session's notebook
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.kernel.placement.base import Command, Order
from rlm_kernel_mcp.kernel.placement.forked import ENVIRONMENT
from rlm_kernel_mcp.kernel.placement.kernelspec import POLICY_FILE
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.policy import Policy, load_policy
from rlm_kernel_mcp.settings import KernelSettings

CONNECTION_FLAG: Final = "-f"
CHANNELS: Final = ("shell", "iopub", "stdin", "hb", "control")
CONNECTION_KEYS: Final = ("transport", "ip", *(f"{channel}_port" for channel in CHANNELS), "signature_scheme")
"""The parts of a client's connection info that a kernel reads, beside the key."""


def effective_policy(spec_dir: Path, settings: KernelSettings) -> Policy:
    """The policy beside a kernelspec, with the settings of whoever starts its kernels.

    Raises:
        InvalidInput: the policy cannot be read, or is wrong.
    """
    return load_policy(spec_dir / POLICY_FILE).with_settings(
        import_policy=settings.import_policy,
        imports=settings.imports,
        memory_limit_mb=settings.memory_limit_mb,
        preload=settings.preload,
    )


def use_sockets(manager: Any, directories: KernelDir) -> None:
    """Set jupyter_client's manager to ipc over sockets in the kernel's own directory, whatever it was set to before."""
    manager.transport, manager.ip = "ipc", directories.socket_stem
    # A manager that was set to TCP would keep a record of ports, which these are not.
    manager.cache_ports = False
    for number, channel in enumerate(CHANNELS, start=1):
        setattr(manager, f"{channel}_port", number)


def build(order: Order, spec_argv: Sequence[str], connection: Mapping[str, Any]) -> Command:
    """Write the kernel's own policy and connection file, and say what it is started with.

    The kernel reads and sees files of its own directories alone: it never sees where a client puts its connection file,
    nor what else lies there.

    Args:
        order: whose kernel; its directories were made for this kernel.
        spec_argv: the kernelspec's, of which the program is taken.
        connection: jupyter_client's connection info, over ipc with sockets in the order's directories.

    Raises:
        OSError: a file cannot be written.
    """
    directories = order.directories
    directories.policy_file.write_text(order.policy.model_dump_json(), encoding="utf-8")
    _write_connection_file(directories, connection)
    arguments = [CONNECTION_FLAG, str(directories.connection_file), "--policy", str(directories.policy_file)]
    arguments += ["--sockets", str(directories.sockets), "--scratch", str(directories.scratch)]
    arguments += ["--owned"] if order.owned else ["--notebook"] if order.notebook else []
    program = list(spec_argv)
    program = program[: program.index(CONNECTION_FLAG)] if CONNECTION_FLAG in program else program
    return Command(tuple(program), tuple(arguments), scrubbed_environment(order), str(directories.scratch))


def scrubbed_environment(order: Order) -> dict[str, str]:
    """The whole environment of a kernel: of its client's, only the time zone; of this process's, nothing."""
    environment = {
        **ENVIRONMENT,
        "HOME": str(order.directories.scratch),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if order.time_zone is not None:
        environment["TZ"] = order.time_zone
    return environment


def _write_connection_file(directories: KernelDir, connection: Mapping[str, Any]) -> None:
    """Write it anew: whoever attaches reads the old one or the new one. It holds the key: for this user alone."""
    key = connection["key"]
    entries = {name: connection[name] for name in CONNECTION_KEYS} | {
        "key": key.decode() if isinstance(key, bytes) else key
    }
    # Renamed when it is complete: a console may read it at any moment.
    new = directories.connection_file.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(entries, file)
    new.replace(directories.connection_file)
