"""Which files are compressed, and which are archives, by their names.

Is: names alone. Is not: their content, which only a loader looks at. Above: `context/`. Below: `context_wire.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.context_wire import Form

_FORMS: Final[dict[str, Form]] = {
    "gz": "gzip",
    "bz2": "bzip2",
    "xz": "xz",
    "zst": "zstd",
    "zstd": "zstd",
}
ENDS: Final[dict[str, str]] = {form: f".{end}" for end, form in reversed(_FORMS.items())}
"""How the name of a file ends that is compressed in this way; of two ends the first."""
_ARCHIVES: Final = frozenset(("zip", "tar", "tgz", "tbz2", "txz", "7z", "rar", "jar", "whl", "cpio"))


def form_of(name: str) -> Form:
    """How a file with this name is compressed; `plain` if it is not."""
    _, dot, end = name.rpartition(".")
    return _FORMS.get(end.lower(), "plain") if dot else "plain"


def is_archive(name: str) -> bool:
    """Whether a file with this name contains other files."""
    stem, _, end = name.rpartition(".")
    while end.lower() in _FORMS:  # an archive that is also compressed, such as .tar.gz
        stem, _, end = stem.rpartition(".")
    return bool(stem) and end.lower() in _ARCHIVES
