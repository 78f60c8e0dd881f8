"""Why a context, or one of its files, is not loaded: the errors, and the reasons for what is left out.

Is: the wording for what a file is or what happened to it. Is not: finding that out. Above: `reading.py`,
`by_loader.py`, `session/contexts/source.py`. Below: `sources.py`, `roots/path_errors.py`, `context/loader/answers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.context.hints import binary
from rlm_kernel_mcp.context.loader.answers import FileRefused
from rlm_kernel_mcp.context.loader.compressed import form_of, is_archive
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.roots.path_errors import cause, quoted, unreadable
from rlm_kernel_mcp.context.sources import Source, Sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput, RequestRefused

_WHY: Final = {
    "truncated": "its {form} data end too early, after {at} bytes of the file",
    "corrupt": "its {form} data are corrupt from about byte {at} on",
    "no_zstd": "compressed with zstd, for which this Python has no module",
    "unreadable": "it cannot be read",
}


def why(form: str, row: FileRefused) -> str:
    """Why a loader refused a file, in a few words."""
    if row.reason == "binary":
        return binary(row.looks)
    return _WHY[row.reason].format(form=form, at=f"{row.at:,}")


def refusal(source: Source, form: str, row: FileRefused, unpacked_bytes: int, ratio: int) -> RequestRefused:
    """The error for a file that a loader refused, except for the reasons `unreadable` and `too_large`."""
    name = quoted(source.given or source.name)
    way_out = "Unpack" if source.given is not None else "Leave it out by exclude, or unpack"
    if row.reason == "unpacked":
        return ContextTooLarge(
            f"{name} unpacks to more than is left of the {unpacked_bytes:,} bytes that all compressed files of a "
            "context may unpack to (context.unpacked_max_gb in the kernelspec's policy.json).",
            f"{way_out} it yourself, and give the part that is needed.",
        )
    if row.reason == "ratio":
        return ContextTooLarge(
            f"The first {row.at:,} bytes of {name} unpack to {row.made:,} bytes, which is more than "
            f"{ratio:,} times as much (context.unpacked_ratio_max in the kernelspec's policy.json).",
            f"{way_out} it yourself, unless it was made to fill memory, and give the part that is needed.",
        )
    if row.reason == "memory":
        return ContextTooLarge(
            f"Unpacking {name} takes more memory than the process that reads it has.",
            "Compress it with a smaller dictionary or window (xz -6, zstd without --ultra), or unpack it yourself.",
        )
    if row.reason == "no_zstd":
        return InvalidInput(
            f"{name} is compressed with zstd, and this server's Python has no module for it.",
            "Ask the user to install rlm-kernel-mcp[zstd] for the server, or unpack it.",
        )
    return ContextDenied(
        f"{name} cannot be read: {why(form, row)}.",
        "Ask the user for an intact copy of the file, or unpack as much of it as you can yourself.",
    )


def refuse_compressed(sources: Sources) -> None:
    """Refuse compressed files on a machine without loaders, since nothing else unpacks them.

    Raises:
        InvalidInput: one of the files is compressed.
    """
    one = next((one for one in sources.files if form_of(one.real) != "plain"), None)
    if one is not None:
        raise InvalidInput(
            f"{quoted(one.given or one.name)} is compressed, and this machine lacks the walls behind which such files "
            "are unpacked.",
            "Unpack it, and give the unpacked file.",
        )


@contextmanager
def skipping(source: Source, skipped: Skipped) -> Iterator[None]:
    """Skip a file that cannot be read, unless it was named itself, which makes that an error."""
    try:
        yield
    except (OSError, ContextDenied) as error:
        skip_unreadable(source, skipped, error)


def skip_unreadable(source: Source, skipped: Skipped, error: OSError | ContextDenied) -> None:
    """Skip a file and note why; if it was named itself, raise instead."""
    if source.given is not None:
        raise unreadable(source.given, error) if isinstance(error, OSError) else error from error
    why = cause(error) if isinstance(error, OSError) else "replaced meanwhile"
    skipped.add(source.name, "unreadable", why)


def nothing_left(sources: Sources, skipped: Skipped) -> ContextNotFound:
    """The error for sources none of which is text."""
    return ContextNotFound(
        f"None of the {len(sources.files):,} files that context_paths stand for is text that can be read; "
        f"skipped: {skipped.count:,}, such as {skipped.last}.",
        "Give the paths of text files, or of directories that contain some.",
    )


def no_room_for_text(byte_count: int, size: int, width: int, left: int) -> ContextTooLarge:
    """The error for a text that takes more room than its bytes, and more than is left for such texts."""
    return ContextTooLarge(
        f"The context has {byte_count:,} bytes, and takes {size:,} bytes as text, since one of its characters needs "
        f"{width} bytes and so each of them takes that many; RLM_SPOOL_GB leaves {left:,}.",
        "Give a smaller context, finalize sessions that are done, or tell the user to raise RLM_SPOOL_GB.",
    )


def no_disk_for_text(size: int) -> ContextTooLarge:
    """The error for a text that could be spooled only to a file system that is in memory itself."""
    return ContextTooLarge(
        f"The context takes {size:,} bytes as text, which is more than the session's memory holds, and RLM_STATE_DIR "
        "is on a file system in memory.",
        "Tell the user to set RLM_STATE_DIR to a directory on a disk.",
    )


def skips_archive(source: Source, skipped: Skipped) -> bool:
    """Whether a file is an archive, and so is left out.

    Raises:
        InvalidInput: it was named itself.
    """
    if not is_archive(source.real):
        return False
    if source.given is not None:
        raise InvalidInput(
            f"{quoted(source.given)} is an archive of files, and archives are not unpacked here.",
            "Unpack it into a directory below an allowed root (tar -xf, unzip -d), and give that directory.",
        )
    skipped.add(source.name, "archive")
    return True
