"""The `rlm_*` requests of the control channel, answered while a step runs.

Is: the kernel's end of `wire.py`. Is not: a wall: a hostile kernel can answer anything, and the host knows that. Runs
in the control thread: no user code may run here, so values are shown by `in_kernel/display_text/values.py` alone.
"""

from __future__ import annotations

import json
import marshal
import mmap
import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, ClassVar

import rlm_kernel_mcp.both_sides.text_encoding  # noqa: F401  (for the `errors` of a document)
from rlm_kernel_mcp.both_sides.recorded_cells import NOTEBOOK
from rlm_kernel_mcp.context_wire import (
    CODECS,
    LOAD_CONTEXT,
    ContextGoneReply,
    DocumentRow,
    DocumentTable,
    LoadContextReply,
    LoadContextRequest,
)
from rlm_kernel_mcp.in_kernel.courtesies.imports import allowed_names
from rlm_kernel_mcp.in_kernel.display_text.values import list_names, view
from rlm_kernel_mcp.in_kernel.explore.evidence import begin_behind
from rlm_kernel_mcp.in_kernel.ipython.descriptors import receive_descriptor, room_for_descriptors
from rlm_kernel_mcp.in_kernel.namespace import offered
from rlm_kernel_mcp.in_kernel.namespace.adding import (
    NameTaken,
    add_json,
    add_text,
    add_value,
    take_back,
)
from rlm_kernel_mcp.in_kernel.namespace.decoding import decode
from rlm_kernel_mcp.in_kernel.namespace.mapped_text import FORMS, map_text
from rlm_kernel_mcp.in_kernel.namespace.mapped_utf8 import map_utf8
from rlm_kernel_mcp.in_kernel.namespace.scratch_files import file_requests
from rlm_kernel_mcp.in_kernel.notebook.replay import Replay
from rlm_kernel_mcp.in_kernel.snapshots.taking import NamespaceSnapshots, or_failure
from rlm_kernel_mcp.in_kernel.snapshots.whole_text import send_text
from rlm_kernel_mcp.wire import (
    DOCUMENTS_LISTED,
    EDGE_CHARS,
    FOR_CONTROL,
    FOR_SHELL,
    GET_VAR,
    INFO,
    NAMES,
    RESTORE,
    SEND_TEXT,
    SNAPSHOT,
    Failure,
    GetVarReply,
    GetVarRequest,
    InfoReply,
    NameRow,
    NamesReply,
    RestoreReply,
    RestoreRequest,
    SnapshotReply,
    SnapshotRequest,
    WallRow,
)

NAMES_MAX = 2_000

Message = dict[str, Any]


class ControlRequests:
    """Mixin of the kernel: base class `__init__` finds the handlers by the names in `control_msg_types`."""

    from ipykernel.kernelbase import Kernel as _Kernel

    control_msg_types: ClassVar = [*_Kernel.control_msg_types, INFO, LOAD_CONTEXT, GET_VAR, NAMES]
    msg_types: ClassVar = [*_Kernel.msg_types, SNAPSHOT, RESTORE]

    session: Any
    shell: Any
    control_handlers: dict[str, Any]
    policy: dict[str, Any]
    """The effective policy, set by the app before the first message."""
    wall_rows: list[WallRow]
    """Which walls hold, set by the app."""
    scratch: str
    replay: Replay
    snapshots: NamespaceSnapshots

    def answer_offered(self) -> None:
        """Answer what belongs to the names on offer, to files, and what has a pipe. Call it once, for a kernel."""
        own: dict[str, offered.Answer] = {
            SEND_TEXT: lambda *asked: send_text(self.shell.user_ns, *asked),
            NOTEBOOK: self.replay.take,
        }
        for msg_type, answer in {**offered.requests(), **file_requests(lambda: self.scratch), **own}.items():
            self.control_handlers[msg_type] = partial(self._answer_offered, answer)

    async def _answer_offered(self, answer: offered.Answer, stream: Any, ident: Any, parent: Message) -> None:
        passed = partial(receive_descriptor, FOR_CONTROL)
        content = or_failure(room_for_descriptors()(lambda: {"status": "ok", **answer(parent["content"], passed)}))
        reply = parent["header"]["msg_type"].replace("_request", "_reply")
        self.session.send(stream, reply, content, parent, ident=ident)

    async def rlm_info_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Say which walls hold and what may be imported."""
        content: InfoReply = {
            "status": "ok",
            "walls": self.wall_rows,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "imports": allowed_names(self.policy["imports"]),
            "import_policy": self.policy["imports"]["mode"],
        }
        self.session.send(stream, "rlm_info_reply", content, parent, ident=ident)

    async def rlm_load_context_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Decode the context's bytes and put its names into the namespace."""
        load = self._load_later if parent["content"].get("later") else self._load_context
        content = or_failure(lambda: load(parent, partial(receive_descriptor, FOR_CONTROL)))
        self.session.send(stream, "rlm_load_context_reply", content, parent, ident=ident)

    def _load_later(self, parent: Message, passed: Callable[[], int]) -> LoadContextReply:
        """Keep it until a notebook that runs again comes to the cell in which it came."""
        descriptor = None if parent["content"]["source"] == "buffer" else passed()
        load = partial(self._load_context, parent, lambda: descriptor)
        self.replay.keep(parent["content"]["name"], lambda: or_failure(load))
        names = offered.lines(self.wall_rows)
        return {"status": "ok", "chars": 0, "lines": 0, "documents": [], "head": "", "tail": "", "names": names}

    @room_for_descriptors()
    def _load_context(self, parent: Message, passed: Callable[[], Any]) -> LoadContextReply | ContextGoneReply:
        request: LoadContextRequest = parent["content"]
        begin_behind(request.get("claims_before", 0))
        if request["source"] == "gone":
            return self._unbind_context(request["name"])
        if request["source"] == "buffer":
            documents = self._begin_load(request, parent)
            return self._fill(request, documents, *decode(documents, memoryview(parent["buffers"][1])))
        # Before anything can go wrong: it is not to stay there for the next request.
        descriptor = passed()
        try:
            documents = self._begin_load(request, parent)
            total, size = sum(document[1] for document in documents), os.fstat(descriptor).st_size
            if size < max(total, sum(request.get("utf8", ()))):
                raise ValueError(f"the context has {size:,} bytes and not {total:,}; it changed while it was read")
            if request.get("add") == "value":
                return self._add_value(request, descriptor, total)
            if request["source"] == "mapped":
                width = FORMS[request["layout"]].width
                text, sizes = map_text(descriptor, total, request["layout"]), [row[1] // width for row in documents]
                utf8 = map_utf8(descriptor, *request["utf8"], text) if "utf8" in request else None
                return self._fill(request, documents, text, sizes, utf8)
            if not total:
                return self._fill(request, documents, *decode(documents, memoryview(b"")))
            # Mapped, not read: the text is then the only copy that this process owns. Nobody closes the mapping, which
            # goes with its last reference: an error's traceback has some, and closing would fail in that error's place.
            lies = documents
            if "layout" in request:
                lies = [(name, size, CODECS[request["layout"]], "surrogatepass") for name, size, _, _ in documents]
            with memoryview(mmap.mmap(descriptor, total, mmap.MAP_PRIVATE, mmap.PROT_READ)) as raw:
                return self._fill(request, documents, *decode(lies, raw))
        finally:
            os.close(descriptor)

    def _begin_load(self, request: LoadContextRequest, parent: Message) -> list[DocumentRow]:
        """The documents, once the name is free."""
        if request.get("add") == "again":
            take_back(self.shell.user_ns, request["name"], self.snapshots.own_value("documents"))
        if request.get("add") and offered.is_taken(self.shell.user_ns, request["name"]):
            raise NameTaken(request["name"])
        table: DocumentTable = json.loads(bytes(parent["buffers"][0]))
        codecs = chain.from_iterable(repeat((encoding, errors), count) for encoding, errors, count in table["codecs"])
        rows = zip(table["names"], table["bytes"], codecs, strict=True)
        return [(name, size, encoding, errors) for name, size, (encoding, errors) in rows]

    def _unbind_context(self, name: str) -> ContextGoneReply:
        """An empty text in its place would be a lie."""
        unbound = offered.unbind_context(self.shell.user_ns, name)
        self._own_names(name, mapped=())
        return {"status": "ok", "names": offered.lines(self.wall_rows), "unbound": unbound}

    def _own_names(self, name: str, mapped: Sequence[str]) -> None:
        user_ns, names = self.shell.user_ns, [offered.named(key, name) for key in offered.OFFERED]
        self.snapshots = NamespaceSnapshots(user_ns, self.policy["snapshots"], ())
        self.snapshots.own({name: user_ns[name] for name in names if name in user_ns}, mapped)

    def _fill(
        self,
        request: LoadContextRequest,
        documents: list[DocumentRow],
        whole: str,
        sizes: list[int],
        utf8: memoryview | None = None,
    ) -> LoadContextReply:
        chars = [[document[0], size] for document, size in zip(documents, sizes, strict=True)]
        codecs = [(document[2], document[3]) for document in documents]
        loaded = offered.Loaded(whole, chars, self.scratch, request["name"], codecs, utf8)
        mapped = (loaded.name,) if request["source"] == "mapped" else ()
        if request.get("add"):
            self._add(loaded, mapped, is_json=request["add"] == "json")
        else:
            offered.bind(self.shell.user_ns, loaded)
            self._own_names(loaded.name, mapped)
        lines = request.get("lines")
        if lines is None:
            lines = whole.count("\n") + (1 if whole and not whole.endswith("\n") else 0)
        return {
            "status": "ok",
            "chars": len(whole),
            "lines": lines,
            "documents": sizes[:DOCUMENTS_LISTED],
            "head": whole[:EDGE_CHARS],
            "tail": whole[-EDGE_CHARS:],
            "names": offered.lines(self.wall_rows),
        }

    def _add(self, loaded: offered.Loaded, mapped: Sequence[str], *, is_json: bool) -> None:
        user_ns, snapshots = self.shell.user_ns, self.snapshots
        more = add_json(user_ns, loaded) if is_json else add_text(user_ns, loaded, snapshots.own_value("documents"))
        snapshots.own(more, mapped)

    def _add_value(self, request: LoadContextRequest, descriptor: int, size: int) -> LoadContextReply:
        with memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ)) as written:
            # No pickle: unmarshalling makes plain values and calls nothing (decision 0092).
            value = marshal.loads(written)  # noqa: S302 (a loader of ours wrote it)
        self.snapshots.own(add_value(self.shell.user_ns, request["name"], value, request["chars"]), ())
        names = offered.lines(self.wall_rows)
        return {"status": "ok", "chars": 0, "lines": 0, "documents": [], "head": "", "tail": "", "names": names}

    async def rlm_get_var_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Show a slice of a variable; the text itself goes as a binary frame."""
        request: GetVarRequest = parent["content"]
        name = request["name"]
        user_ns = self.shell.user_ns
        if name not in user_ns:
            missing: Failure = {"status": "error", "ename": "NameError", "evalue": name}
            self.session.send(stream, "rlm_get_var_reply", missing, parent, ident=ident)
            return
        shown = view(user_ns[name], int(request["offset"]), int(request["limit"]), as_text=bool(request.get("as_text")))
        content: GetVarReply = {
            "status": "ok",
            "name": name,
            "type": shown.type,
            "size": shown.size,
            "json": shown.json,
            "total_chars": shown.total_chars,
            "whole": shown.whole,
            "own": shown.own,
        }
        self.session.send(stream, "rlm_get_var_reply", content, parent, ident=ident, buffers=[shown.payload])

    async def rlm_names_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """List the user's names with their types and sizes."""
        content: NamesReply = {"status": "ok"}
        names: list[NameRow] = list_names(dict(self.shell.user_ns), self.shell.user_ns_hidden)[:NAMES_MAX]
        payload = json.dumps([list(row) for row in names], ensure_ascii=True).encode()
        self.session.send(stream, "rlm_names_reply", content, parent, ident=ident, buffers=[payload])

    async def rlm_snapshot_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Send what changed since the last snapshot over the pipe that the host passes."""
        content = or_failure(lambda: self._snapshot(parent["content"]))
        self.session.send(stream, "rlm_snapshot_reply", content, parent, ident=ident)

    def _snapshot(self, request: SnapshotRequest) -> SnapshotReply:
        descriptor = receive_descriptor(FOR_SHELL)
        try:
            return self.snapshots.take(descriptor, request["token"], request["after"])
        finally:
            os.close(descriptor)

    async def rlm_restore_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Bind the names of a snapshot that the host passes as a file."""
        content = or_failure(lambda: self._restore(parent["content"]))
        self.session.send(stream, "rlm_restore_reply", content, parent, ident=ident)

    @room_for_descriptors()
    def _restore(self, request: RestoreRequest) -> RestoreReply:
        descriptor = receive_descriptor(FOR_SHELL)
        try:
            return {"status": "ok", "names": self.snapshots.restore(descriptor, request["items"])}
        finally:
            os.close(descriptor)
