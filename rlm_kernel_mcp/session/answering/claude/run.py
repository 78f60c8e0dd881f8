"""One run of the program `claude`: what it is told on its input, what it says on its output, and its certain end.

Is: a process in a private, empty directory that dies with this one (`keeper.py`), and bytes in both directions, bounded
while they are read. Is not: its arguments (`command.py`), nor what the bytes say (`lines.py`).
Above: `claude_cli.py`. Below: `shielded.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.shielded import shielded

KEEPER: Final = str(Path(__file__).with_name("keeper.py"))
PIECE_BYTES: Final = 65_536
COMPLAINT_BYTES: Final = 4_096
"""Of its standard error, which is read to its end and not kept."""
END_S: Final = 10.0
"""How long the keeper may take to end what it has started."""


class Lifeline:
    """While it is held, the run goes on."""

    def __init__(self) -> None:
        self.kept, self._held = os.pipe()

    def handed_over(self) -> None:
        """The keeper has its end."""
        kept, self.kept = self.kept, -1
        if kept >= 0:
            os.close(kept)

    def cut(self) -> None:
        """End the run, at once. Safe to call twice."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)


async def ran(
    argv: Sequence[str],
    environ: Mapping[str, str],
    text: bytes,
    take: Callable[[bytes], bool],
    lifeline: Lifeline,
) -> tuple[int | None, str]:
    """Run a command until it has said what is wanted; its exit status, and what it complained of.

    Args:
        argv: the command; its first word is an absolute path.
        environ: all of its environment, but for where its temporary files lie.
        text: its standard input.
        take: is given each piece of its output; says whether that was enough.
        lifeline: ends the run when it is cut; it is cut when this returns.
    """
    directory = Path(tempfile.gettempdir(), f"rlm-claude-{secrets.token_hex(8)}")
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", KEEPER, str(lifeline.kept), str(directory), *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environ, "TMPDIR": str(directory / "tmp")},
            pass_fds=(lifeline.kept,),
            start_new_session=True,  # a signal to this process's group is not meant for it
        )
    except BaseException:
        lifeline.cut()
        raise
    finally:
        lifeline.handed_over()
    beside: list[asyncio.Task[Any]] = [
        asyncio.create_task(_fed(child, text)),
        complaint := asyncio.create_task(_complaint(child)),
    ]
    status = None
    try:
        assert child.stdout is not None
        while piece := await child.stdout.read(PIECE_BYTES):
            if take(piece):
                break
        else:
            status = await child.wait()
    finally:
        lifeline.cut()
        await shielded(_ended(child, beside, directory), "the end of claude")
    return status, complaint.result() if complaint.done() and not complaint.cancelled() else ""


async def _fed(child: asyncio.subprocess.Process, text: bytes) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it does not read on
        child.stdin.write(text)
        await child.stdin.drain()
    child.stdin.close()


async def _complaint(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    kept = bytearray()
    while piece := await child.stderr.read(PIECE_BYTES):
        kept += piece[: COMPLAINT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace").strip()


async def _emptied(child: asyncio.subprocess.Process) -> None:
    """What it still says is of no use; the pipe's end is its own, with all that may have had it."""
    assert child.stdout is not None
    while await child.stdout.read(PIECE_BYTES):
        pass


async def _ended(child: asyncio.subprocess.Process, beside: list[asyncio.Task[Any]], directory: Path) -> None:
    beside = [*beside, asyncio.create_task(_emptied(child))]
    waiting = asyncio.ensure_future(child.wait())
    await asyncio.wait({waiting}, timeout=END_S)
    if child.returncode is None:
        child.kill()  # the command dies with its keeper
        await asyncio.wait({waiting}, timeout=END_S)
    await asyncio.wait(beside, timeout=END_S)
    for task in beside:
        task.cancel()  # where something still has the pipes, of a keeper that was killed
    if child.returncode is None or child.returncode < 0:  # it could not remove what it had made
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
