"""Gives a kernel the sources of a notebook, and its cells and answers, before its client has it.

Is: each context read below the roots of whoever starts the kernel, and handed over only if it has the hash that the
notebook says: a file that names what its writer may not read gets nothing, since its writer cannot know the hash, and
learns nothing of what is there (decision 0122). What cannot be loaded does not keep the kernel from starting: the
notebook's first cell says it. Is not: a start (`kernel/placement/`). Above: `provisioner.py`. Below: `file.py`,
`reads.py`, `session/contexts/source.py`, `session/kernels/context_loading.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.both_sides.recorded_cells import NOTEBOOK, RecordedNotebook
from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.spool import unlinked_file
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.errors import ContextNotFound, InvalidInput, KernelDied, RequestRefused
from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.mapped_file import MappedFile
from rlm_kernel_mcp.kernel.placement.base import ManagedProcess, Order
from rlm_kernel_mcp.kernel.untrusted.answers import is_ok
from rlm_kernel_mcp.notebook.form.names import VARIABLE
from rlm_kernel_mcp.notebook.form.sources import NamedSource, needed_file
from rlm_kernel_mcp.notebook.running.file import NotebookFile, nothing_read
from rlm_kernel_mcp.notebook.running.reads import READS
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.means import Beside, Means
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.context_loading import load_context, load_whole
from rlm_kernel_mcp.session.snapshots.requests import pass_descriptor
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.text.safe_text import safe_text

log = logging.getLogger(__name__)
CONNECT_S: Final = 30.0
TELL_S: Final = 60.0
"""How long a kernel may take to answer at all, and to take the notebook's cells and answers."""
NOT_IN_TIME: Final = (
    f"The kernel did not answer within {CONNECT_S:.0f} s, or did not take the cells of its notebook within "
    f"{TELL_S:.0f} s."
)
AGAIN: Final = "Start it again; if that fails too, `rlm-kernel-mcp doctor` says what is missing."
BLOCK_BYTES: Final = 1 << 20
NOT_THERE: Final = (
    "nothing that may be read has that hash. Give the directory that has it by --root, or by RLM_CONTEXT_ROOTS; why "
    "what is there was not taken is in the log of whoever started this kernel."
)
"""To the kernel, of every source that is not handed over: how many bytes a file has, or whether it is there at all, is
nothing for a notebook that has not got its hash."""


@dataclass(slots=True)
class ClientsHand:
    """A kernel of another client while it is filled: `context_loading.TakesContexts`."""

    client: KernelClient
    process: ManagedProcess
    give: Callable[[int], None]
    dead: asyncio.Future[int]
    """Done when it is filled: what is held for it here is let go of then, for the kernel has its own."""
    mapped: list[MappedFile] = field(default_factory=list)
    claims_before: int = 0

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        """Hand over an open file, for the next request on control. Raises: OSError."""
        assert not shell
        self.give(descriptor)


class NotebookFiller:
    """`base.Filler` of one notebook."""

    def __init__(self, path: Path, settings: Settings, directory: str | None = None) -> None:
        """`directory`: where relative paths begin; None: where the notebook says."""
        self._path, self._settings, self._directory = path, settings, directory

    @classmethod
    def of(cls, working_dir: Path, environment: Mapping[str, str]) -> NotebookFiller | None:
        """By the environment of whoever starts a kernel; None: it names no notebook.

        Raises:
            InvalidInput: a setting is wrong.
        """
        if not (name := environment.get(VARIABLE)):
            return None
        roots = environment.get("RLM_CONTEXT_ROOTS", "")
        settings = load_settings(working_dir, environment)
        is_one = len(settings.context_roots) == 1 and bool(roots)
        return cls(working_dir / name, settings, str(settings.context_roots[0]) if is_one else None)

    async def fill(self, order: Order, process: ManagedProcess, give: Callable[[int], None]) -> None:
        """Load what the notebook names, and say what its cells are. Raises: KernelDied."""
        connection = json.loads(order.directories.connection_file.read_text(encoding="utf-8"))
        client = KernelClient(connection["key"].encode())
        hand = ClientsHand(client, process, give, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.open(connection)
            await self._tell(hand, await self._filled(hand, Room.of(order.policy)))
        except TimeoutError:
            raise KernelDied(NOT_IN_TIME, AGAIN) from None
        finally:
            hand.dead.set_result(0)
            for file in hand.mapped:
                file.close()
            client.close("its notebook is loaded")

    async def _filled(self, hand: ClientsHand, room: Room) -> RecordedNotebook:
        try:
            found = await asyncio.to_thread(NotebookFile.read, self._path)
        except InvalidInput as error:
            return nothing_read(safe_text(f"{error.message} {error.next_step}"))
        try:
            sources = await asyncio.to_thread(found.sources, self._directory)
            problem = await self._loaded(hand, sources, room)
        except InvalidInput as error:
            problem = f"{error.message} {error.next_step}"
        return await asyncio.to_thread(found.recorded, safe_text(problem))

    async def _loaded(self, hand: ClientsHand, sources: Iterable[NamedSource], room: Room) -> str:
        """Load each of them; returns what is said of those that cannot be, in whole sentences."""
        problems: list[str] = []
        beside = Beside()
        for source in sources:
            try:
                with await self._payload(source, room, beside, copy=not source.is_first) as payload:
                    await self._load(hand, source, payload, room, beside)
                    in_memory = payload.byte_count if payload.held == "memory" else 0
                    beside = Beside(beside.bytes + in_memory, beside.documents + len(payload.documents))
            except RequestRefused as error:
                problems.append(f"{needed_file(source)} is not loaded: {error.message}")
        return "\n".join(problems)

    async def _load(self, hand: ClientsHand, source: NamedSource, payload: Payload, room: Room, beside: Beside) -> None:
        if not source.is_first:  # a copy: the kernel keeps its descriptor until the cell comes, and code may run before
            await load_context(hand, payload, source.name, add=True, later=True)
            return
        copies: list[Payload] = []

        async def copied() -> Payload:
            copies.append(await self._payload(source, room, beside, copy=True))
            return copies[-1]

        try:
            await load_whole(hand, payload, copied, source.name)
        finally:
            for one in copies:
                one.close()

    async def _payload(self, source: NamedSource, room: Room, beside: Beside, *, copy: bool) -> Payload:
        """A context that has the hash which the notebook says. Raises: ContextNotFound: there is none."""
        try:
            return await self._read(source, room, beside, copy=copy)
        except RequestRefused as error:
            log.warning("%s is not loaded: %s", needed_file(source), safe_text(error.message))
            raise ContextNotFound(NOT_THERE) from error

    async def _read(self, source: NamedSource, room: Room, beside: Beside, *, copy: bool) -> Payload:
        """The same, with what is wrong. Raises: RequestRefused."""
        means = Means(self._settings, room)
        named = source.source
        if source.file:
            named = await self._text_of(source, means, beside)
        progress = Progress()
        if (reads := READS.get()) is not None:
            reads.append(progress)
        payload = await named.opened(means, copy=copy, beside=beside, progress=progress)
        if payload.sha256 != source.sha256:
            payload.close()
            raise InvalidInput(f"what is there now is another one (sha256 {payload.sha256}).")
        return payload

    async def _text_of(self, source: NamedSource, means: Means, beside: Beside) -> ContextSource:
        """The text of a context that was given as text and is too long for a notebook, from its file."""
        root = await asyncio.to_thread(_root_of, source.file, self._settings.context_roots)
        if root is None:
            raise ContextNotFound("there is no such file in a directory that may be read.")
        there = replace(source.source, paths=(source.file,), text=None, working_dir=str(root), is_json=False)
        with await there.opened(means, copy=True, beside=beside) as payload:
            if payload.sha256 != source.sha256 or payload.descriptor is None:
                raise InvalidInput(f"what is there now is another one (sha256 {payload.sha256}).")
            try:
                text = await asyncio.to_thread(_decoded, payload.descriptor, payload.byte_count)
            except UnicodeDecodeError as error:
                raise InvalidInput("what is there is no text in UTF-8.") from error
        return replace(source.source, paths=None, text=text, working_dir=None)

    async def _tell(self, hand: ClientsHand, found: RecordedNotebook) -> None:
        """Hand over the cells and the answers, in a file that only the kernel reads from then on."""
        pass_descriptor(hand, await asyncio.to_thread(_written, found))
        async with asyncio.timeout(TELL_S):
            reply = await hand.client.request(NOTEBOOK, {})
        if not is_ok(reply.content):
            raise KernelDied("The kernel did not take the cells of the notebook.")


def _root_of(name: str, roots: Iterable[Path]) -> Path | None:
    for root in roots:
        with suppress(OSError):  # the name is too long for any file, or nobody may look into that root
            if (root / name).is_file():
                return root
    return None


def _decoded(descriptor: int, byte_count: int) -> str:
    blocks, at = list[bytes](), 0
    while at < byte_count and (block := os.pread(descriptor, min(BLOCK_BYTES, byte_count - at), at)):
        blocks.append(block)
        at += len(block)
    return b"".join(blocks).decode("utf-8", "surrogatepass")


def _written(found: RecordedNotebook) -> int:
    """An open file that has it, for reading alone. Raises: KernelDied: the disk does not take it."""
    try:
        writer, reader = unlinked_file()
        try:
            write_at(writer, json.dumps(found).encode(), 0)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
    except OSError as error:
        raise KernelDied(f"The notebook cannot be handed to its kernel: {error.strerror}.") from error
    return reader
