"""Names and shapes that the host and a loader process agree on.

Is: constants and types alone. Is not: behaviour, nor a check: a type says what a well-behaved
loader sends, and `context/loader/answers.py` makes one of what did come. Above: `context/loader/`,
`in_kernel/loader/`. Below: `wire.py`.

One datagram each way at a time, JSON, over a socket of whole datagrams. The host asks, in this order:

    {begin: Limits} [pack]              -> {begun: true}       with a descriptor: all bytes are laid together in it
    {files: [Form, ...]} [descriptors]  -> {files: [Read | Refused, ...]}     as often as there are files
    {finish: true}                      -> {finished: Finished}
    {spool: true} [descriptor]          -> {spooled: bytes, errno}    the characters, each as wide as the widest
    {index: first}                      -> binary              pairs of 8 bytes: lines and characters, of `INDEX_ROWS`

Before any answer may come {progress: [bytes read, bytes of text]}, at most twice a second.
"""

from typing import Final, Literal, TypedDict

from rlm_kernel_mcp.wire import Layout

DATAGRAM_BYTES: Final = 64 * 1024
FILES_MAX: Final = 64
"""Files of one request; the system passes 253 descriptors at a time at most."""
BLOCK_BYTES: Final = 1 << 16
"""A row of the index stands for so many bytes of a document. Larger blocks would leave the processor's cache."""
INDEX_ROWS: Final = 2_048
"""Rows of the index in one datagram."""

Form = Literal["plain", "gzip", "bzip2", "xz", "zstd"]
LAYOUTS: Final[tuple[Layout, ...]] = ("ascii", "latin-1", "ucs2", "ucs4")
WIDTHS: Final[dict[Layout, int]] = {"ascii": 1, "latin-1": 1, "ucs2": 2, "ucs4": 4}
REASONS: Final = (
    "binary",
    "too_large",
    "unpacked",
    "ratio",
    "truncated",
    "corrupt",
    "memory",
    "no_zstd",
    "unreadable",
    "no_room",
)
"""Why a file is not read: no text; more bytes than the context may have; more than may be unpacked, in all or by ratio;
a compressed file that ends too early, or is none from some byte on; one that needs more memory than a loader has; zstd
where this Python has no module for it; an error of the file system in reading, or in writing."""


class Limits(TypedDict):
    """`text_bytes`: of all documents; the rest is of compressed files: of all, and of each after `ratio_from`."""

    text_bytes: int
    unpacked_bytes: int
    ratio: int
    ratio_from: int


class Read(TypedDict):
    """One document. `bad_bytes` do not decode; `lines`: line ends; `open`: whether the last character is none."""

    bytes: int
    encoding: str
    bad_bytes: int
    chars: int
    lines: int
    open: bool
    layout: str


class Refused(TypedDict):
    """`at`: how many bytes of the file had been read; `made`: how many of its text; `errno` of the file system's."""

    refused: str
    at: int
    made: int
    errno: int


class Finished(TypedDict):
    """All documents together. `mapped`: the bytes as they are, are the characters in the layout."""

    sha256: str
    bytes: int
    chars: int
    layout: str
    mapped: bool
