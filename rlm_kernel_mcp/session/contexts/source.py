"""Where a context comes from, and how it is read: at first, and again for a fresh kernel.

Is: an inline text or paths, what of them the record keeps, and the limits that the contexts of a session share. Is not:
files (`context/`), the kernel's part (`session/kernels/recovery.py`), nor the session's list (`contexts.py`).
Above: `contexts.py`, `session/opening.py`, `session/reopening.py`. Below: `context/`, `session/kernels/loading.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.context.by_loader import load
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.inline import inline_payload, json_payload, payload_in_file
from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.text_file import TextFile
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.refusals import refuse_compressed
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import allowed_now, held
from rlm_kernel_mcp.context.roots.path_errors import quoted
from rlm_kernel_mcp.context.sources import AboveLimit, Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.contexts.changes import FileMarks
from rlm_kernel_mcp.session.contexts.given import FIRST_NAME, Given, Options, Progress
from rlm_kernel_mcp.session.contexts.manifests import roots_of, sources_of
from rlm_kernel_mcp.session.contexts.means import Beside, Kept, Means
from rlm_kernel_mcp.session.kernels.loading import CancelCheck, read_in_thread
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.units import MB

LOADER_FROM_BYTES: Final = 8 * MB
"""Smaller sources are read by the host's own thread, if none is compressed: it is done before a loader is there."""
SMALL_FILE_BYTES: Final = 16 << 10
"""And those that are decoded into memory and whose files have fewer each: handing one to a loader is more work."""
TABLE_SHARE: Final = 0.2
"""Share that the documents' names and places may take."""
DOCUMENT_BYTES: Final = 500
"""What a kernel needs for one document beside its text and its name, about."""


@dataclass(frozen=True, slots=True)
class ContextSource:
    """Where a context comes from: an inline text, or paths. At most one of the two is set; a record has no text."""

    text: str | None = None
    paths: tuple[str, ...] | None = None
    working_dir: str | None = None
    """Where relative paths begin; None: the server's own."""
    home: str | None = None
    """What `~` stands for in them; None: as the server has it."""
    exclude: tuple[str, ...] = ()
    """Patterns for what the directories and globs among the paths leave out."""
    is_json: bool = False
    """Whether the text is JSON, of which the parsed value is the context."""
    name: str = FIRST_NAME
    prefix: str = ""
    """What stands before the names of its documents."""
    roots: Roots | None = None
    """Its paths lie below these; None: below the server's own."""
    file: TextFile | None = None
    """A text that is in neither of the two, nor in the store, but in a file of this server: a child session's."""
    manifest: str | None = None
    """Of paths of another machine: what names the copies of their files."""

    @classmethod
    def of(cls, given: Given, options: Options, caller: Caller | None = None, *, prefix: str = "") -> ContextSource:
        """From what a client gave. `caller`: whose paths they are."""
        text = given.json_text if given.text is None else given.text
        source = cls(text, given.paths, None, None, options.exclude, given.json_text is not None, options.name, prefix)
        source = replace(source, manifest=options.manifest)
        if caller is None or source.manifest is not None:
            return source
        settings = caller.settings
        return replace(source, working_dir=str(settings.working_dir), home=settings.home, roots=caller.roots)

    @property
    def kind(self) -> str:
        """What kind of context it makes."""
        return "documents" if self.paths is not None else "json" if self.is_json else "text"

    def reference(self, settings: Settings) -> dict[str, Any]:
        """What the record keeps, beside a text. `settings`: the server's own."""
        more: dict[str, Any] = {"inline": True}
        if self.manifest is not None:
            more = {"paths": self.paths, "manifest": self.manifest}
        elif self.paths is not None:
            begin = {"working_dir": self.working_dir or str(settings.working_dir), "home": self.home or settings.home}
            roots = self.roots or Roots.named(*settings.context_roots)
            more = {"paths": self.paths, **begin, "roots": roots.paths, "root_ids": roots.kept}
        more |= {"exclude": self.exclude} if self.exclude else {}
        more |= {"json": True} if self.is_json else {}
        return {**more, "name": self.name, "prefix": self.prefix}

    @classmethod
    def of_reference(cls, found: Mapping[str, Any]) -> ContextSource:
        """From what the record kept; the text is not there."""
        paths = found.get("paths")
        return cls(
            None,
            None if paths is None else tuple(paths),
            found.get("working_dir"),
            found.get("home"),
            tuple(found.get("exclude", ())),
            bool(found.get("json")),
            found.get("name", FIRST_NAME),
            found.get("prefix", ""),
            Roots.of_record(found.get("roots", ()), found.get("root_ids")),
            manifest=found.get("manifest"),
        )

    def allowed(self, settings: Settings) -> Roots:
        """The directories below which its paths must lie. Raises: ContextDenied: there are none."""
        roots = roots_of(settings.state_dir) if self.manifest else self.roots or Roots.named(*settings.context_roots)
        if len(roots.sets) > 1:
            with allowed_now(roots) as allowed:
                has_some = allowed.paths or allowed.lost
            if has_some:
                return roots
            named = "; ".join(f"{', '.join(map(quoted, one))}" for one in roots.paths)
            raise ContextDenied(
                f"No path can be added: it must lie below the roots that the session was opened with and below this "
                f"server's own, and these have no directory in common: {named}.",
                "Give the text itself, or open a session with rlm_init_context for these paths.",
            )
        return roots

    async def opened(
        self,
        means: Means,
        *,
        copy: bool = False,
        beside: Beside | None = None,
        progress: Progress | None = None,
    ) -> Payload:
        """Read it in a thread; nothing is left of it where that is cancelled. Raises: as `open`."""
        if self.roots is None or self.paths is None:
            reading: AbstractContextManager[Roots | None] = nullcontext(self.roots)
        else:
            reading = held(self.roots)
        with reading as roots:
            source = replace(self, roots=roots)
            return await read_in_thread(
                lambda check_cancelled: source.open(
                    means, copy=copy, check_cancelled=check_cancelled, beside=beside, progress=progress
                ),
                files=self.paths is not None,
            )

    def open(
        self,
        means: Means,
        *,
        copy: bool = False,
        check_cancelled: CancelCheck = lambda: None,
        beside: Beside | None = None,
        progress: Progress | None = None,
    ) -> Payload:
        """Read it; blocking, so run it in a worker thread.

        `beside`: what the session's other contexts take of the limits. `progress`: is told how far it is.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput.
        """
        beside = beside or Beside()
        room = means.room.beside(beside.bytes)
        try:
            payload = self._read(replace(means, room=room), copy, check_cancelled, progress)
        except AboveLimit as error:
            raise error.of(room.max_of) from None
        _check_table(payload, means.settings, beside)
        return payload

    def _read(self, means: Means, copy: bool, check_cancelled: CancelCheck, progress: Progress | None) -> Payload:
        room, settings = means.room, means.settings
        progress = progress or Progress()
        if self.file is not None:
            return payload_in_file(self.file, self.name, room)
        if self.text is not None:
            return self._inline(self.text, means, check_cancelled, progress)
        sources = self._sources(settings, room, check_cancelled)
        progress.bytes = max(sources.byte_count, progress.bytes)
        progress.skipped = {str(kind): count for kind, count in sources.skipped.counts.items()}
        payload = _of_files(sources, means, copy, check_cancelled, progress)
        progress.marks = FileMarks.of(payload.documents)
        if self.prefix:
            prefixed = (replace(one, name=self.prefix + one.name) for one in payload.documents)
            payload.documents = tuple(prefixed)
        return payload

    def _sources(self, settings: Settings, room: Room, check_cancelled: CancelCheck) -> Sources:
        if self.manifest is not None:
            return sources_of(settings.state_dir, self.manifest, room.max_bytes)
        return resolve_sources(
            self.paths or (),
            exclude=self.exclude,
            roots=self.allowed(settings),
            working_dir=Path(self.working_dir) if self.working_dir else settings.working_dir,
            home=self.home or settings.home,
            max_bytes=room.max_bytes,
            check_cancelled=check_cancelled,
        )

    def _inline(self, text: str, means: Means, check_cancelled: CancelCheck, progress: Progress) -> Payload:
        progress.bytes = len(text)  # at least; how many there are is known when they have been looked at
        if self.is_json:
            payload = json_payload(text, self.name, means.room, means.loaders, check_cancelled)
        else:
            spool = None if means.loaders is None else means.loaders.spool
            payload = inline_payload(text, self.name, means.room, spool, check_cancelled)
        progress.on_bytes(payload.byte_count)
        return payload

    def open_again(
        self,
        means: Means,
        kept: Kept,
        check_cancelled: CancelCheck = lambda: None,
        progress: Progress | None = None,
        beside: Beside | None = None,
        *,
        copy: bool = False,
    ) -> Payload:
        """Read it again for a fresh kernel; it must be what it was, which its files' states say, or else its hash.

        A mapped file that was written to or cut off is what the kernel that is gone had: it is read as it is now, and
        `Payload.is_other` then says so.

        Raises:
            ContextNotFound: it has changed since, or as `open`.
        """
        payload = self.open(means, copy=copy, check_cancelled=check_cancelled, beside=beside, progress=progress)
        try:
            if self.manifest or (kept.states is not None and payload.states == kept.states):  # copies do not change
                payload.sha256 = kept.sha256 or payload.sha256
                return payload
            if kept.sha256 is not None and (unhashed := payload.unhashed()) is not None and means.loaders is not None:
                with unhashed:
                    payload.sha256 = unhashed.digest(means.loaders, check_cancelled)
            if kept.sha256 is not None and payload.sha256 == kept.sha256:
                return payload
            if kept.mapped is not None and payload.own_file == kept.mapped:
                payload.is_other = True
                return payload
            raise ContextNotFound(
                "the context's files have changed since the session began, so it was not loaded again"
                if self.paths is not None
                else "the context was given inline and its stored copy is damaged"
            )
        except BaseException:
            payload.close()
            raise


def needs_loader(sources: Sources, room: Room) -> bool:
    """Whether the host's own thread is not to read these."""
    if any(form_of(one.real) != "plain" for one in sources.files):
        return True
    size = sources.byte_count
    return size >= LOADER_FROM_BYTES and (size > room.in_memory_bytes or size >= SMALL_FILE_BYTES * len(sources.files))


def _of_files(sources: Sources, means: Means, copy: bool, check_cancelled: CancelCheck, progress: Progress) -> Payload:
    """By a loader where it is large or compressed, else here, where it is done before a loader would have begun."""
    room, told = means.room, progress.on_bytes
    payload = None
    if means.loaders is not None and needs_loader(sources, room):
        payload = load(sources, room, means.loaders, copy=copy, check_cancelled=check_cancelled, on_bytes=told)
    if payload is None:
        refuse_compressed(sources)
        payload = build_payload(sources, room=room, copy=copy, check_cancelled=check_cancelled, on_bytes=told)
    return payload


def _check_table(payload: Payload, settings: Settings, beside: Beside) -> None:
    """Raise ContextTooLarge, and give the payload back, if its documents' names and places take too much."""
    table_bytes = sum(DOCUMENT_BYTES + len(document.name) for document in payload.documents)
    limit_bytes = int(settings.memory_limit_mb * MB * TABLE_SHARE) - beside.documents * DOCUMENT_BYTES
    if table_bytes <= limit_bytes:
        return
    payload.close()
    raise ContextTooLarge(
        f"The context has {len(payload.documents):,} documents, whose table takes about {table_bytes:,} bytes "
        f"beside the text; the limit is {max(0, limit_bytes):,} bytes, a part of the session's memory "
        "(RLM_MEMORY_LIMIT_MB)."
    )


def put_text(store: Store, session_id: str, text: str, name: str = "") -> None:
    """Keep the text of a context in the store; blocking. `name`: as `Store.put_context`."""
    store.put_context(session_id, text.encode("utf-8", "surrogatepass"), name)
