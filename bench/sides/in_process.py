"""Sessions of this process by the Python front door, for what is measured within a kernel: no wire, and no server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rlm_kernel_mcp.api import Session, Sessions

STEP_MS = 600_000


@contextmanager
def our_sessions(env: Mapping[str, str] | None = None) -> Iterator[tuple[Sessions, Path]]:
    """A place for sessions, and the directory that they may load from."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        directory = Path(tempfile.mkdtemp(dir=around))
        settings = {"RLM_CONTEXT_ROOTS": str(directory), "RLM_STATE_DIR": str(directory / "state"), **(env or {})}
        with Sessions(host="off", env=settings) as sessions:
            yield sessions, directory


def result_of(session: Session, code: str) -> str:
    """The text of what a step's last expression gave, or what it printed."""
    report = session.run(code, timeout_ms=STEP_MS)
    if report.status != "ok":
        raise RuntimeError(f"a step ended with {report.status}: {report.error or report.note}")
    return report.result or report.stdout
