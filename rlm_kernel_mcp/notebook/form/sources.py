"""A context of a session as a notebook names it: written from its record, and read from a file that is anybody's.

Is: a row of `NotebookFacts.contexts`, both ways. Is not: reading what it names (`notebook/running/filling.py`). Above:
`notebook/writing/record.py`, `notebook/running/file.py`. Below: `names.py`, `texts.py`, `session/contexts/source.py`,
`context/roots/path_errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.context.roots.path_errors import checked
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.names import TEXT_CHARS_MAX, SourceRow
from rlm_kernel_mcp.notebook.form.texts import in_base64, text_of
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.text.safe_text import safe_text

FILE_STEM: Final = "rlm-context-"
DIGEST_CHARS: Final = 64
PATHS_MAX: Final = 10_000
NAME_CHARS_MAX: Final = 200
CORRECT: Final = "Write the notebook again with `rlm-kernel-mcp trace SESSION_ID --format notebook`."


def row_of(source: ContextSource, report: ContextReport, at_step: int, text: str | None) -> SourceRow:
    """What a notebook has of a context. `text`: of one that was given as text, if the record still has it."""
    row: SourceRow = {
        "name": source.name,
        "kind": report.kind,
        "prefix": source.prefix,
        "chars": report.chars,
        "lines": report.lines,
        "bytes": report.bytes,
        "document_count": report.document_count,
        "sha256": report.sha256,
        "at_step": at_step,
    }
    if source.paths is not None:
        row["paths"] = list(source.paths)
        if source.exclude:
            row["exclude"] = list(source.exclude)
        if source.working_dir is not None:
            row["working_dir"] = source.working_dir
    elif text is None or len(text) > TEXT_CHARS_MAX:
        row["file"] = f"{FILE_STEM}{(report.sha256 or source.name)[:16]}.txt"
    elif (packed := in_base64(text)) is None:
        row["text"] = text
    else:
        row["text_base64"] = packed
    return row


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A context that a notebook names, checked in type and size; nothing of it is true yet."""

    name: str
    sha256: str
    is_json: bool
    is_first: bool
    source: ContextSource
    file: str
    """The name of the file that has its text; empty: it needs none."""

    @classmethod
    def of(cls, row: Mapping[str, Any], directory: str | None, *, is_first: bool) -> NamedSource:
        """From a notebook's row. `directory`: where relative paths begin; None: where the notebook says.

        Raises:
            InvalidInput: it is none, or has no hash: without one nothing is read.
        """
        name = row.get("name")
        if type(name) is not str or not name.isidentifier() or len(name) > NAME_CHARS_MAX:
            raise InvalidInput("A context of the notebook has no name.", CORRECT)
        digest = row.get("sha256")
        if type(digest) is not str or len(digest) != DIGEST_CHARS or not set(digest) <= set("0123456789abcdef"):
            raise InvalidInput(
                f"The notebook has no sha256 of its context {name}: which file was loaded cannot be told, and none "
                "is read.",
                CORRECT,
            )
        is_json, prefix = row.get("kind") == "json", row.get("prefix", "")
        if type(prefix) is not str or len(prefix) > NAME_CHARS_MAX:  # it stands before the name of each document
            raise InvalidInput(
                f"The prefix of the context {name} is not a text of at most {NAME_CHARS_MAX} characters.", CORRECT
            )
        text = _text(row)
        file = _file(row) if text is None else ""
        place = {"text": text} if text is not None else _place(name, row, file, directory)
        source = ContextSource(name=name, prefix=prefix, is_json=is_json, **place)
        return cls(name, digest, is_json, is_first, source, file)


def _place(name: str, row: Mapping[str, Any], file: str, directory: str | None) -> dict[str, Any]:
    """Where its text is, if the notebook has not got it: the fields of a `ContextSource`."""
    if file:
        return {"paths": (file,), "working_dir": directory}
    paths, exclude = _texts(row.get("paths")), _texts(row.get("exclude", []))
    if not paths or exclude is None:
        raise InvalidInput(f"The notebook does not say where its context {name} comes from.", CORRECT)
    begins = row.get("working_dir") if directory is None else directory
    if begins is not None and not Path(checked(begins)).is_absolute():
        raise InvalidInput(f"The working directory of the context {name} is not an absolute path.", CORRECT)
    return {"paths": paths, "exclude": exclude, "working_dir": begins}


def _text(row: Mapping[str, Any]) -> str | None:
    return text_of(row.get("text"), row.get("text_base64"), TEXT_CHARS_MAX)


def _file(row: Mapping[str, Any]) -> str:
    """The name of the file that has its text: no path, so that it lies in a directory that may be read, or nowhere."""
    file = row.get("file")
    return file if type(file) is str and "/" not in file and file not in (".", "..") else ""


def _texts(value: object) -> tuple[str, ...] | None:
    if type(value) is not list or len(value) > PATHS_MAX or not all(type(one) is str for one in value):
        return None
    return tuple(value)


def needed_file(source: NamedSource) -> str:
    """What to say of a source that cannot be read: which it is."""
    paths = ", ".join(source.source.paths or ())
    return safe_text(f"The context {source.name} ({paths[:500] or 'its text'}, sha256 {source.sha256})")
