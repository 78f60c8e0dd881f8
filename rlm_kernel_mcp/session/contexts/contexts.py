"""The contexts of one session: which it has, what is known of each, and what its record keeps.

Is: the list, its form in the record, and how each is read again. Is not: loading (`loads.py`), nor a kernel
(`session/kernels/`). Above: `loads.py`, `session/reopening.py`. Below: `source.py`, `changes.py`, `store/store.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Final

from rlm_kernel_mcp.context.held import is_hashed_later
from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.roots.identity import FileNumber
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context_wire import LoadContextReply
from rlm_kernel_mcp.errors import ContextNotFound, ContextTooLarge
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.context_reports import ContextReport, DocumentInfo
from rlm_kernel_mcp.session.contexts.changes import FileMarks
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.hashing import Hashes
from rlm_kernel_mcp.session.contexts.means import Beside, Kept, Means
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.context_loading import context_report
from rlm_kernel_mcp.session.kernels.loading import CancelCheck, read_in_thread
from rlm_kernel_mcp.session.kernels.recovery import ContextToLoad
from rlm_kernel_mcp.store.store import Store

HASHES_TOLD: Final = 20
"""Contexts whose hashes stand in one answer."""
CUT_OFF: Final = (
    "its file has changed: it was cut off from {was:,} to {now:,} bytes, and the context was loaded again as it is now"
)
WRITTEN_TO: Final = (
    "its file has changed: it was written to and has {now:,} bytes, where it had {was:,}, and the context was loaded "
    "again as it is now"
)


@dataclass(slots=True)
class SessionContext:
    """One context of a session."""

    source: ContextSource
    """Without its text, which the store has."""
    report: ContextReport | None = None
    """What is known of it; None: it is not loaded yet."""
    at_step: int = 0
    """The last step that had begun when it came."""
    marks: FileMarks | None = None
    """Its files as they were when this server read them; None: it has not."""
    in_store: str = ""
    """By which name the store has its text; the first one's is empty."""
    states: str | None = None
    """As `Payload.states`, when it was read last."""
    places: Places | None = None
    """Places in its documents, as this server has loaded them last; None of what JSON says."""
    in_place: FileNumber | None = None
    """Its one file, where this server has it from that itself, which is no copy."""
    text_bytes: int | None = None
    """As `Payload.text_bytes`."""
    claimed_bytes: int = 0
    """What it takes of the memory as soon as it is there, from the moment on at which it goes to the kernel."""
    has_failed: bool = False
    """Whether it could not be loaded; only the first one stays in the list then."""
    by: Caller | None = None
    """Whose call has it loaded just now."""

    @property
    def name(self) -> str:
        return self.source.name

    def note_origin(self, payload: Payload) -> None:
        """Remember what a payload of it was made of."""
        self.states, self.text_bytes = payload.states, payload.text_bytes
        self.in_place = None if payload.state is None else payload.own_file
        self.places = None if payload.kind == "json" else payload.places(len(self.source.prefix))

    def take_over(self, other: SessionContext) -> None:
        """Remember what the record does not have of a context that this server has loaded."""
        self.marks, self.in_place, self.places = other.marks, other.in_place, other.places
        self.text_bytes = other.text_bytes

    @property
    def memory_bytes(self) -> int:
        """What it takes, or is about to take, of the memory for contexts."""
        if self.report is None:
            return self.claimed_bytes
        return max(self.report.bytes, self.text_bytes or 0) if self.report.held == "memory" else 0

    @property
    def has_changed(self) -> bool:
        """Whether its files were seen to have changed since."""
        return self.marks is not None and self.marks.has_changed


@dataclass(slots=True)
class ContextList:
    """The contexts of one session, the first one first. `HasContexts` of `session/kernels/recovery.py`."""

    session_id: str
    means: Means
    store: Store
    all: list[SessionContext] = field(default_factory=list)
    roots: Roots | None = None
    """Those that the session was opened with; None: its record is from before it said so."""
    hashes: Hashes = field(init=False)
    """Of those that have none yet."""
    read_again: list[Progress] = field(default_factory=list)
    """Of a context that is just read once more, for a fresh kernel."""

    def __post_init__(self) -> None:
        self.hashes = Hashes(self.means.loaders)

    @property
    def first(self) -> SessionContext:
        return self.all[0]

    @property
    def first_name(self) -> str:
        return self.first.name

    def to_load(self) -> Sequence[ContextToLoad]:
        return [
            ContextToLoad(
                one.name,
                partial(self.open_again, one),
                one.source.is_json,
                one.at_step,
                partial(self.loaded_again, one),
            )
            for one in self.all
            if one.report is not None
        ]

    def loads_for_others(self, than: Caller) -> bool:
        """Whether one is being loaded by a call of somebody else who is there."""
        return any(one.by is not None and one.by is not than and one.by.is_connected for one in self.all)

    def beside(self, context: SessionContext) -> Beside:
        """What the others take of the limits."""
        others = [one for one in self.all if one is not context]
        documents = sum(one.report.document_count for one in others if one.report is not None)
        return Beside(sum(one.memory_bytes for one in others), documents)

    def claim_room(self, context: SessionContext, payload: Payload) -> None:
        """Count a context that goes to the kernel now. Others may have been loaded while it was read.

        Raises:
            ContextTooLarge: those leave it no room in memory.
        """
        room = self.means.room.beside(self.beside(context).bytes)
        if payload.held == "memory" and payload.byte_count > room.decoded_bytes:
            raise ContextTooLarge(
                f"The context has {payload.byte_count:,} bytes, and others were loaded while it was read: of the bytes "
                f"that are decoded into memory {room.decoded_bytes:,} are left, {room.memory}."
            )
        context.claimed_bytes = payload.byte_count if payload.held == "memory" else 0

    def later_hashes(self) -> dict[str, str]:
        """By name those that an answer to a load may not have had: of the first contexts with such."""
        found = (one.report for one in self.all if one.report is not None and is_hashed_later(one.report.bytes))
        return dict(islice(((one.name, one.sha256) for one in found if one.sha256 is not None), HASHES_TOLD))

    def changed(self) -> tuple[str, ...]:
        """The names of those whose files have changed."""
        return tuple(one.name for one in self.all if one.has_changed)

    async def open_again(self, context: SessionContext, *, copy: bool = False) -> Payload:
        """A context once more, for a fresh kernel; it is what it was, or says that it is not. `copy`: of its files.

        Nothing of it is remembered before a kernel has it (`loaded_again`): else one that ends meanwhile would leave
        behind that this is what it was.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput.
        """
        try:
            again = partial(self._open_again, context, copy)
            return await read_in_thread(again, files=context.source.paths is not None)
        finally:
            self.read_again = []

    def loaded_again(self, context: SessionContext, payload: Payload, loaded: LoadContextReply) -> str | None:
        """A fresh kernel has a context; what has become of it, if it is another than it was."""
        context.note_origin(payload)
        assert context.report is not None
        was, now = context.report.bytes, payload.byte_count
        if payload.is_other:
            context.report = replace(context_report(payload, loaded, context.name), changed=True)
            if context.marks is not None:
                context.marks.has_changed = True
            self.hashes.on_done()
        elif context.report.held != payload.held:
            context.report = replace(context.report, held=payload.held)
        self.hash_later(context, payload.unhashed())
        told = CUT_OFF if now < was else WRITTEN_TO
        return told.format(was=was, now=now) if payload.is_other else None

    def hash_later(self, context: SessionContext, unhashed: Unhashed | None) -> None:
        """Have the hash of a context that is there made, where it has none yet."""
        report, states = context.report, context.states

        def take(digest: str) -> None:
            is_same = context.report is report or (states is not None and context.states == states)
            if report is not None and context.report is not None and is_same:  # else it was loaded anew meanwhile
                context.report = replace(context.report, sha256=digest)

        self.hashes.begin(context.name, unhashed, take)

    def _open_again(self, context: SessionContext, copy: bool, check_cancelled: CancelCheck) -> Payload:
        source, self.read_again = self.source_of(context), [progress := Progress()]
        assert context.report is not None
        mapped = context.in_place if context.report.held == "mapped" else None
        kept = Kept(context.report.sha256, context.states, mapped)
        payload = source.open_again(self.means, kept, check_cancelled, progress, self.beside(context), copy=copy)
        if not context.has_changed:
            context.marks = progress.marks
        return payload

    def source_of(self, context: SessionContext) -> ContextSource:
        """The source of a context with its text, which is read from the store. Raises: ContextNotFound."""
        if context.source.paths is not None or context.source.file is not None:
            return context.source
        data = self.store.context(self.session_id, context.in_store)
        if data is None:
            raise ContextNotFound("the context was given inline and its stored copy is gone")
        return replace(context.source, text=data.decode("utf-8", "surrogatepass"))

    # --- the record -------------------------------------------------------------------------------

    def first_row(self) -> dict[str, Any]:
        """What the record has in `context`."""
        return _row(self.first)

    def reference(self, names: Sequence[str]) -> dict[str, Any]:
        """What it has in `context_ref`: how to load each again. `names`: those that kernels offer by themselves."""
        kept = self.first.source.reference(self.means.settings)
        added = [
            {
                "source": one.source.reference(self.means.settings),
                "report": _row(one),
                "at_step": one.at_step,
                "states": one.states,
                "in_store": one.in_store,
            }
            for one in self.all[1:]
        ]
        more: dict[str, Any] = {"states": self.first.states} | ({"added": added} if added else {})
        if self.roots is not None:
            more |= {"session_roots": self.roots.paths, "session_root_ids": self.roots.kept}
        return {**kept, "names": list(names), **more}


def contexts_of(first: Mapping[str, Any], reference: Mapping[str, Any]) -> list[SessionContext]:
    """The contexts as a record has them. Raises: TypeError, KeyError, ValueError where it is damaged."""
    added = [
        SessionContext(
            ContextSource.of_reference(row["source"]),
            _report(row["report"], row["source"]["name"]),
            int(row["at_step"]),
            None,
            str(row["in_store"]),
            row.get("states"),
        )
        for row in reference.get("added", ())
    ]
    source = ContextSource.of_reference(reference)
    has_failed = first.get("state") == "failed"
    states = reference.get("states")
    return [SessionContext(source, _report(first, source.name), states=states, has_failed=has_failed), *added]


def _row(context: SessionContext) -> dict[str, Any]:
    if context.report is None:
        return {
            "name": context.name,
            "kind": context.source.kind,
            "state": "failed" if context.has_failed else "loading",
        }
    return asdict(context.report)


def _report(row: Mapping[str, Any], name: str) -> ContextReport | None:
    if row.get("state", "ready") != "ready":
        return None
    kept = {"name": name, **row}
    kept["documents"] = tuple(DocumentInfo(**document) for document in row.get("documents", ()))
    skipped, count = kept.pop("skipped", {}), kept.pop("skipped_count", 0)
    kept["skipped_first"] = tuple(kept.get("skipped_first", ()))
    kept["hints"] = tuple(kept.get("hints", ()))
    if isinstance(skipped, list):  # a record from before entries had kinds
        skipped, kept["skipped_first"] = {"other": count} if count else {}, tuple(skipped)
    return ContextReport(**kept, skipped=skipped)
