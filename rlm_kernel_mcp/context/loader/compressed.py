"""Which files are compressed, and which are archives, by their names.

Is: names alone. Is not: what the files hold, which only a loader looks at. Above: `context/`. Below: `context_wire.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.context_wire import Form

_FORMS: Final[dict[str, Form]] = {
    ".gz": "gzip",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".zst": "zstd",
    ".zstd": "zstd",
}
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".jar", ".whl", ".cpio")


def form_of(name: str) -> Form:
    """How a file of this name is compressed; `plain` if it is not."""
    return next((form for end, form in _FORMS.items() if name.lower().endswith(end)), "plain")


def is_archive(name: str) -> bool:
    """Whether a file of this name holds other files."""
    bare = name.lower()
    for end in _FORMS:
        bare = bare.removesuffix(end)
    return bare.endswith(_ARCHIVES)
