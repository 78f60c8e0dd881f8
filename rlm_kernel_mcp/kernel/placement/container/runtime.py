"""Asks a container engine: whether it serves, and small commands.

Is: the probe of docker or podman and of the image, by the client program, once for all kernels, and the fallback.
Is not: the argument lists (`arguments.py`) or a kernel's container (`launch.py`). Above: `launch.py`,
`kernel/placement/contained.py`. Below: `arguments.py`, `sweep.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime
from rlm_kernel_mcp.kernel.placement.container.sweep import remember_runtime
from rlm_kernel_mcp.kernel.placement.local.reaper import Reaper
from rlm_kernel_mcp.kernel_code import kernel_code
from rlm_kernel_mcp.settings import Settings

log = logging.getLogger(__name__)
ANSWER_S: Final = 10.0
"""How long an engine may take to answer a question."""
ASK_AGAIN_S: Final = 30.0
"""How long an engine that gave no answer is left alone: else each session would wait for it."""
KILLED_S: Final = 1.0
"""How long to wait for a client that was killed."""
END_S: Final = 10.0
"""How long a container may outlive its kernel."""
SAID_CHARS: Final = 2_000
LABEL_CHARS: Final = 64
CANNOT_RUN: Final = 126
"""Status of a program that cannot be run, as a shell has it."""


class Containers:
    """What the containers of one server have in common: the engine, once it is found, the fallback, the reaper."""

    def __init__(self, settings: Settings, run_dir: Path) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._finding: asyncio.Task[ContainerRuntime] | None = None
        self._runtime: ContainerRuntime | None = None
        self._reaper: Reaper | None = None
        self._hung: tuple[float, SandboxUnavailable] | None = None
        """Until when (monotonic, s) an engine that gave no answer is left alone, and the error to raise until then."""

    async def ready_runtime(self) -> ContainerRuntime:
        """The engine. It is asked again for each kernel until it was found once; callers at the same time share a try.

        Raises:
            SandboxUnavailable: with the command that fixes it.
        """
        if self._runtime is not None:
            return self._runtime
        if self._hung is not None and time.monotonic() < self._hung[0]:
            raise self._hung[1]
        if self._finding is None or self._finding.done():
            self._finding = asyncio.get_running_loop().create_task(self._find(), name="container engine")
            self._finding.add_done_callback(_heard)
        # Shielded: others wait for the same task, and one caller's cancellation must not end it for them.
        return await asyncio.shield(self._finding)

    async def _find(self) -> ContainerRuntime:
        begun = time.monotonic()
        try:
            found = await find_runtime(self._settings)
        except SandboxUnavailable as why:
            # Only an engine that did not answer is left alone; one that refused at once costs nothing to ask again.
            if time.monotonic() - begun >= ANSWER_S:
                self._hung = time.monotonic() + ASK_AGAIN_S, why
            raise
        remember_runtime(self._run_dir, found)
        self._reaper = Reaper(container.reaper_argv(found, str(self._run_dir)))
        self._runtime = found
        return found

    def fallback(self, why: SandboxUnavailable) -> dict[str, Any]:
        """The row of `walls` of a kernel that could not have its container; it goes to the log too.

        Raises:
            SandboxUnavailable: `why`, where the user did not allow process walls instead.
        """
        if self._settings.sandbox_fallback != "process":
            raise why
        log.warning("RLM_SANDBOX_FALLBACK=process is used: %s %s", why.message, why.next_step)
        return container.fallback_row(why)

    def close(self) -> None:
        """Stop the reaper; call when every kernel is gone. Removing the run directory looks for what is left."""
        if self._finding is not None:
            self._finding.cancel()
        if self._reaper is not None:
            self._reaper.stop()
            self._reaper = None


def _heard(task: asyncio.Task[ContainerRuntime]) -> None:
    """Read the task's exception: its callers may have been cancelled, and then nobody needs to hear of a failure."""
    if not task.cancelled():
        task.exception()


async def find_runtime(settings: Settings) -> ContainerRuntime:
    """Ask the engine for its version and the image; nothing is started.

    Raises:
        SandboxUnavailable: the runtime, its daemon or the image is missing, or the image is of another version.
    """
    runtime, image = settings.container_runtime, settings.container_image
    if sys.platform != "linux":
        raise container.unfit_system(sys.platform)
    program = shutil.which(runtime)
    if program is None:
        raise container.runtime_missing(runtime)
    (version_status, version), (image_status, labels) = await asyncio.gather(
        ask_engine(container.version_argv(runtime, program)), ask_engine(container.labels_argv(program, image))
    )
    if version_status:
        raise container.runtime_unreachable(runtime)
    if image_status:
        raise container.image_missing(runtime, image)
    found = _label(labels)
    if found != kernel_code():
        raise container.image_outdated(runtime, image, found)
    return ContainerRuntime(runtime, program, image, version.strip())


def _label(labels: str) -> str | None:
    """The label with our kernel code's hash, from what an engine says of an image; None where there is none."""
    try:
        found = json.loads(labels)
    except ValueError:
        return None
    code = found.get(container.CODE_LABEL) if isinstance(found, dict) else None
    return code[:LABEL_CHARS] if isinstance(code, str) else None


async def ask_engine(argv: Sequence[str]) -> tuple[int, str]:
    """Run an engine's command: its exit status and what it printed; its standard error goes to the log.

    A program that cannot be run, or does not answer in time, has a status other than 0 too.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            # A session of its own: Ctrl-C in the terminal must not reach it, and its whole group can be killed.
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        log.warning("`%s` cannot be run: %s", " ".join(argv[:3]), error.strerror)
        return CANNOT_RUN, ""
    try:
        async with asyncio.timeout(ANSWER_S):
            out, complaint = await child.communicate()
    except TimeoutError:
        out, complaint = b"", f"no answer within {ANSWER_S:.0f} s".encode()
    finally:
        if child.returncode is None:
            _kill_group(child.pid)
    if child.returncode is None:
        # `wait`, not `wait_for`: that would wait for the cancelled task, and a client in uninterruptible sleep never
        # ends.
        await asyncio.wait({asyncio.ensure_future(child.wait())}, timeout=KILLED_S)
    status = CANNOT_RUN if child.returncode is None else child.returncode
    if status:
        said = complaint.decode("utf-8", "replace").strip()[-SAID_CHARS:]
        log.warning("`%s` ended with status %d: %s", " ".join(argv[:3]), status, said)
    return status, out.decode("utf-8", "replace")


def _kill_group(pid: int) -> None:
    """End a client that is not waited for any more, and what it started; asyncio's child watcher collects it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
