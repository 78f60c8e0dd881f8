"""Asks a container engine: whether it serves, and small commands.

Is: the probe of docker or podman and of the image, by the client program. Is not: the argument lists
(`container.py`) or a kernel's container (`container_launch.py`). Above: `container_launch.py`. Below: `container.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from rlm_kernel_mcp.kernel import container
from rlm_kernel_mcp.kernel.container import ContainerRuntime
from rlm_kernel_mcp.settings import Settings

log = logging.getLogger(__name__)
ANSWER_S: Final = 20.0
"""How long an engine may take to answer a question."""
END_S: Final = 10.0
"""How long a container may outlive its kernel."""
SAID_CHARS: Final = 2_000


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
        ask(container.version_argv(runtime, program)), ask(container.labels_argv(program, image))
    )
    if version_status:
        raise container.runtime_unreachable(runtime)
    if image_status:
        raise container.image_missing(runtime, image)
    found: dict[str, str] = json.loads(labels) or {}
    if found.get(container.CODE_LABEL) != container.kernel_code():
        raise container.image_outdated(runtime, image, found.get(container.CODE_LABEL))
    return ContainerRuntime(runtime, program, image, version.strip())


async def ask(argv: Sequence[str]) -> tuple[int, str]:
    """Run an engine's command: its status and what it printed; what it complained of goes to the log."""
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(ANSWER_S):
            out, complaint = await child.communicate()
    except TimeoutError:
        out, complaint = b"", f"no answer within {ANSWER_S:.0f} s".encode()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        said = complaint.decode("utf-8", "replace").strip()[-SAID_CHARS:]
        log.warning("`%s` ended with status %d: %s", " ".join(argv[:3]), child.returncode, said)
    assert child.returncode is not None
    return child.returncode, out.decode("utf-8", "replace")
