"""Contexts of a session without a kernel, for the check of what an answer cites."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.evidence.check import check
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Quote
from rlm_kernel_mcp.session.evidence.sought import Limits
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.units import MB


def contexts_of(root: Path, *sources: ContextSource) -> ContextList:
    """Loaded as a session loads them, but into no kernel."""
    settings = load_settings(Path.cwd(), {"RLM_CONTEXT_ROOTS": str(root), "RLM_STATE_DIR": str(root.parent / "state")})
    means = Means(settings, Room(600 * MB, 256 * MB, 64 << 30))
    texts = {"" if not number else one.name: one.text for number, one in enumerate(sources)}
    store = SimpleNamespace(
        context=lambda session, name: (texts[name] or "").encode("utf-8", "surrogatepass"),
    )
    made = ContextList("s_test", means, cast(Any, store))
    for number, source in enumerate(sources):
        context = SessionContext(source, in_store="" if not number else source.name)
        progress = Progress()
        with source.open(means, progress=progress) as payload:
            context.note_origin(payload)
            context.marks = progress.marks
            chars = len(source.text) if source.text is not None else sum(one.byte_count for one in payload.documents)
            context.report = ContextReport(
                cast(Any, source.kind), chars, 0, payload.byte_count, payload.sha256, "", "", (), len(payload.documents)
            )
        made.all.append(context)
    return made


def files(root: Path, **documents: bytes) -> ContextSource:
    """A context of a directory with these files."""
    for name, data in documents.items():
        (root / f"{name}.txt").write_bytes(data)
    return ContextSource(paths=(str(root),))


PATIENT: Final = Limits(nearest_s=3_600)
"""The nearest passages are looked for to the end, on a busy machine too."""


def checked(
    contexts: ContextList,
    *quotes: str | Quote,
    book: EvidenceBook | None = None,
    marks: tuple[int, ...] = (),
    limits: Limits | None = None,
) -> Checked:
    """The check of these quotes and marks."""
    asked = [Quote(one) if isinstance(one, str) else one for one in quotes]
    return check(contexts, book or EvidenceBook(), marks, asked, limits or PATIENT)


def citation(contexts: ContextList, quote: str | Quote, limits: Limits | None = None) -> Citation:
    """Of one quote."""
    return checked(contexts, quote, limits=limits).citations[0]
