"""How a kernel is asked for its values, in its main thread, where the values' own code may run and never end.

Is: a bounded wait for the answer, and the signal that makes such code let go. Is not: what is asked or answered. Above:
`taking.py`, `session/kernels/recovery.py`. Below: `kernel/`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.messages import Message

SIGNAL_EVERY_S: Final = 0.05
"""Between two signals."""


class TakesDescriptors(Protocol):
    """A kernel, as far as open files are handed to it."""

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        """Hand over an open file, for the next request on control (on shell if asked). Raises: OSError."""


async def ask(kernel: Kernel, msg_type: str, content: Mapping[str, object], within_s: float, signals: int) -> Message:
    """Send a request and wait for its answer. Raises: as `answer`."""
    asking = asyncio.ensure_future(kernel.client.request(msg_type, content, shell=True))
    try:
        return await answer(kernel, asking, within_s, signals)
    finally:
        asking.cancel()


async def answer(kernel: Kernel, asking: asyncio.Future[Message], within_s: float, signals: int) -> Message:
    """Wait for an answer as `came` does.

    Raises:
        KernelDied: the kernel went away. TimeoutError: it did not answer even then.
    """
    if not await came(kernel, asking, within_s, signals):
        raise TimeoutError
    return asking.result()


async def came(kernel: Kernel, asking: asyncio.Future[Message], within_s: float, signals: int) -> bool:
    """Whether an answer comes; the kernel's end counts as one.

    After `within_s` the kernel is signalled, up to `signals` times, to let a value's own code go.
    """
    await asyncio.wait({asking}, timeout=within_s)
    for _ in range(signals):
        if asking.done():
            break
        kernel.process.send_signal(signal.SIGUSR2)
        await asyncio.wait({asking}, timeout=SIGNAL_EVERY_S)
    return asking.done()


def pass_descriptor(kernel: TakesDescriptors, descriptor: int, *, shell: bool = False) -> None:
    """Pass a descriptor to a kernel, for its next request on control (on shell if asked), and close it here.

    Raises:
        KernelDied: the kernel does not take what is passed to it.
    """
    try:
        kernel.pass_descriptor(descriptor, shell=shell)
    except OSError as error:
        raise KernelDied(f"The kernel cannot be given an open file: {error.strerror}.") from error
    finally:
        os.close(descriptor)


async def within(seconds: float, waiting: Coroutine[Any, Any, Any]) -> None:
    """Wait for something at most so long."""
    task = asyncio.ensure_future(waiting)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()


async def end_of(stream: asyncio.Future[Any]) -> None:
    """Wait for a thread's end."""
    await asyncio.wait({stream})
