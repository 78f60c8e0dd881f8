"""Where a session's files are below the state directory.

Is: their names, for whoever writes, counts and removes them. Is not: their contents. Above: `pruning.py`,
`session/snapshots/file.py`. Below: nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SNAPSHOTS: Final = "snapshots"
_SUFFIXES: Final = (".a", ".b", ".json", ".part")


def snapshot_files(state_dir: Path, session_id: str) -> list[Path]:
    """The files in which a session's snapshots may lie: two of values, their index, and one that is being written."""
    return [state_dir / SNAPSHOTS / f"{session_id}{suffix}" for suffix in _SUFFIXES]
