"""Why a context, or one file of it, is not loaded: the errors, and the words for what is left out.

Is: words for what a file is or what happened to it. Is not: the looking. Above: `payload.py`, `by_loader.py`,
`session/opening.py`. Below: `sources.py`, `paths.py`, `context/loader/answers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.context.loader.answers import FileRefused
from rlm_kernel_mcp.context.loader.compressed import form_of, is_archive
from rlm_kernel_mcp.context.paths import cause, quoted, unreadable
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.sources import Source, Sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput, RequestRefused

_WHY: Final = {
    "binary": "binary",
    "truncated": "its {form} data end too early, after {at} bytes of the file",
    "corrupt": "it has no {form} data from about byte {at} on",
    "no_zstd": "compressed by zstd, for which this Python has no module",
    "unreadable": "it cannot be read",
}


def why(form: str, row: FileRefused) -> str:
    """Why a loader refused a file, in a few words."""
    return _WHY[row.reason].format(form=form, at=f"{row.at:,}")


def refusal(source: Source, form: str, row: FileRefused, unpacked_bytes: int, ratio: int) -> RequestRefused:
    """The error for a file that a loader refused, `unreadable` and `too_large` aside."""
    name = quoted(source.given or source.name)
    if row.reason == "unpacked":
        return ContextTooLarge(
            f"{name} unpacks to more than is left of the {unpacked_bytes:,} bytes that all "
            "compressed files of a context may have (context.unpacked_max_gb in the kernelspec's policy.json).",
            "Unpack it yourself, and give the part that is needed.",
        )
    if row.reason == "ratio":
        return ContextTooLarge(
            f"{name} unpacks to {row.made:,} bytes out of its first {row.at:,}, which is more than "
            f"{ratio:,} times as much (context.unpacked_ratio_max in the kernelspec's policy.json).",
            "Unpack it yourself if it is not made to fill memory, and give the part that is needed.",
        )
    if row.reason == "memory":
        return ContextTooLarge(
            f"{name} needs more memory to be unpacked than the process that reads it has.",
            "Compress it with a smaller dictionary or window (xz -6, zstd without --ultra), or unpack it yourself.",
        )
    if row.reason == "binary":
        return binary(source.given or source.name)
    if row.reason == "no_zstd":
        return InvalidInput(
            f"{name} is compressed by zstd, and this server's Python has no module for it.",
            "Ask the user to install rlm-kernel-mcp[zstd] for the server, or unpack it.",
        )
    return ContextDenied(
        f"{name} cannot be read: {why(form, row)}.",
        "Ask the user for a whole copy of the file, or unpack what can be had of it yourself.",
    )


def refuse_compressed(sources: Sources) -> None:
    """For a machine without loaders: nobody else unpacks anything.

    Raises:
        InvalidInput: one of the files is compressed.
    """
    one = next((one for one in sources.files if form_of(one.real) != "plain"), None)
    if one is not None:
        raise InvalidInput(
            f"{quoted(one.given or one.name)} is compressed, and this machine has not the walls behind which such "
            "files are unpacked.",
            "Unpack it, and give the unpacked file.",
        )


@contextmanager
def skipping(source: Source, skipped: Skipped) -> Iterator[None]:
    """A file that cannot be read is an error where it was named itself, else it is skipped."""
    try:
        yield
    except (OSError, ContextDenied) as error:
        skip_unreadable(source, skipped, error)


def skip_unreadable(source: Source, skipped: Skipped, error: OSError | ContextDenied) -> None:
    """Leave it out and say so; raises where it was named itself."""
    if source.given is not None:
        raise unreadable(source.given, error) if isinstance(error, OSError) else error from error
    why = cause(error) if isinstance(error, OSError) else "replaced meanwhile"
    skipped.add(source.name, "unreadable", why)


def binary(given: str) -> InvalidInput:
    """The error for a file that the caller named itself and that is no text."""
    return InvalidInput(
        f"{quoted(given)} is binary: it has a NUL byte in its first 64 KB, and no byte order mark of UTF-16 or UTF-32.",
        "Give text files; a directory or pattern skips the binary ones by itself.",
    )


def nothing_left(sources: Sources, skipped: Skipped) -> ContextNotFound:
    """The error for sources of which none is a text."""
    return ContextNotFound(
        f"None of the files that context_paths mean ({len(sources.files):,}) is a text that can be read; "
        f"skipped: {skipped.count:,}, such as {skipped.last}.",
        "Give the paths of text files, or of directories that hold some.",
    )


def no_room_for_text(byte_count: int, size: int, width: int, left: int) -> ContextTooLarge:
    """The error for a text that is larger than its bytes, and than what is left for such texts."""
    return ContextTooLarge(
        f"The context has {byte_count:,} bytes, and {size:,} as text, since one of its characters needs {width} bytes "
        f"and so all have them; RLM_SPOOL_GB leaves {left:,}.",
        "Give a smaller context, finalize sessions that are done, or tell the user to raise RLM_SPOOL_GB.",
    )


def no_disk_for_text(size: int) -> ContextTooLarge:
    """The error for a text that could only lie in memory once more."""
    return ContextTooLarge(
        f"The context has {size:,} bytes as text, for which memory is not enough, and RLM_STATE_DIR lies on a file "
        "system in memory.",
        "Tell the user to set RLM_STATE_DIR to a directory on a disk.",
    )


def skips_archive(source: Source, skipped: Skipped) -> bool:
    """Whether it is an archive, which is left out.

    Raises:
        InvalidInput: the caller named it itself.
    """
    if not is_archive(source.real):
        return False
    if source.given is not None:
        raise InvalidInput(
            f"{quoted(source.given)} is an archive of files, which is not unpacked here.",
            "Unpack it into a directory below an allowed root (tar -xf, unzip -d), and give that directory.",
        )
    skipped.add(source.name, "archive")
    return True
