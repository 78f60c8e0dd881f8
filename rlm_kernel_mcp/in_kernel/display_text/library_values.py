"""Values of numpy and of some modules of Python's own: numbers, arrays, paths, addresses, views of memory.

Is: what they hold, read from slots or by C code of types that a session cannot change. Is not: pandas, whose classes
are Python's own and could be anybody's. Above: `value_text.py`, `type_writers.py`, `answer_text.py`. Below:
`inspection.py`.
"""

from __future__ import annotations

import _socket
import contextlib
import ipaddress
import pathlib
from itertools import accumulate
from operator import mul
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection

ARRAY_ITEMS: Final = 200_000
ARRAY_BYTES: Final = 16 << 20
"""Items of an array, or bytes of a view of memory, that are shown; the rest is counted."""
PATH_CHARS: Final = 100_000
"""Characters of a path, more than any file system takes: a session can make an endless one."""
PATH_PARTS: Final = PATH_CHARS // 2
"""Each part has at least one character and a separator."""
_NUMBERS: Final = frozenset({
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "longlong", "ulonglong", "intc", "uintc",
    "float16", "float32", "float64", "complex64", "complex128", "bool", "bool_",
})  # fmt: skip
_TIMES: Final = frozenset({"datetime64", "timedelta64"})
PATHS: Final = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)
ADDRESSES: Final = (ipaddress.IPv4Address, ipaddress.IPv6Address)
NETWORKS: Final = (ipaddress.IPv4Network, ipaddress.IPv6Network)
_slots: Final = {cls: dict(inspection.slots(cls)) for cls in (*PATHS, *ADDRESSES)}


def numpy_name(cls: type) -> str | None:
    """The name of a class of numpy's own C code; None for any other, whatever it calls itself."""
    return inspection.static_name(cls, "numpy")


def number(value: Any) -> bool | int | float | complex | None:
    """The number that a scalar of numpy is; None if it is not one."""
    if numpy_name(type(value)) not in _NUMBERS:
        return None
    found = inspection.class_attribute(type(value), "item")(value)
    return found if type(found) in (bool, int, float, complex) else None


def time_text(value: Any, method: str = "__str__") -> str | None:
    """The text of a `datetime64` or `timedelta64`, made by C code; None if it is not one."""
    if numpy_name(type(value)) not in _TIMES:
        return None
    text = inspection.class_attribute(type(value), method)(value)
    return text if type(text) is str else None


def array_part(value: Any) -> tuple[Any, str] | None:
    """The items of an array in lists, as many as are shown, and the note on the rest; None if it is not an array."""
    cls = type(value)
    if numpy_name(cls) != "ndarray":
        return None
    shape, item_bytes = _get(value, "shape"), max(1, _get(value, "itemsize"))
    # Lists without items count too, and so do the fields of a record: each is an object of its own.
    count = max(accumulate(shape, mul), default=1)
    room = min(ARRAY_ITEMS // max(1, len(_get(value, "dtype").names or ())), ARRAY_BYTES // item_bytes)
    if count <= room or not shape:
        return inspection.class_attribute(cls, "tolist")(value), ""
    rows = room // (count // shape[0])
    part = inspection.class_attribute(cls, "__getitem__")(value, slice(0, rows))
    more = f"… {shape[0] - rows:,} more of {shape[0]:,} items of shape {shape[1:]}" if shape[1:] else (
        f"… {shape[0] - rows:,} more items"
    )  # fmt: skip
    return inspection.class_attribute(cls, "tolist")(part), more


def array_shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array; None if it is not one."""
    return _get(value, "shape") if numpy_name(type(value)) == "ndarray" else None


def _get(value: Any, name: str) -> Any:
    return inspection.class_attribute(type(value), name).__get__(value)


def path_text(value: Any) -> tuple[str, bool]:
    """A path as text, from what it holds, which is a cached text or its parts; and whether that is all of it."""
    held = _held(value)
    known = held.get("_str")
    if type(known) is str:
        return known[:PATH_CHARS], len(known) <= PATH_CHARS
    separator = "\\" if isinstance(value, pathlib.PureWindowsPath) else "/"
    parts = held.get("_raw_paths") or held.get("_parts")
    parts = parts if type(parts) is list else []
    texts, left = [], PATH_CHARS  # a session can put anything there
    for part in parts[:PATH_PARTS]:
        if left > 0 and type(part) is str:
            texts.append(part[:left])
            left -= len(part) + 1
    names = [name for text in texts for name in text.split(separator) if name not in ("", ".")]
    root = separator if texts and texts[0].startswith(separator) else ""
    return root + separator.join(names) or ".", left >= -1 and len(parts) <= PATH_PARTS


def address_text(value: Any) -> str:
    """An IP address as text."""
    held = _held(value)
    packed, size = held.get("_ip"), 4 if type(value) is ipaddress.IPv4Address else 16
    if type(packed) is not int or not 0 <= packed < 1 << 8 * size:
        return "?"
    family = _socket.AF_INET if size == 4 else _socket.AF_INET6
    text, scope = _socket.inet_ntop(family, packed.to_bytes(size, "big")), held.get("_scope_id")
    return f"{text}%{inspection.exact(scope)}" if type(scope) is str else text


def network_text(value: Any) -> str:
    """An IP network as text."""
    held = inspection.instance_dict(value) or {}
    address, prefix = held.get("network_address"), held.get("_prefixlen")
    known = type(address) in ADDRESSES and type(prefix) is int
    return f"{address_text(address)}/{prefix}" if known else "?"


def memory_text(value: memoryview) -> tuple[str, int]:
    """The bytes of a view of memory as far as they are shown, and how many more there are."""
    try:
        size = value.nbytes
        if not size:
            return "memoryview(b'')", 0
        if not value.c_contiguous:
            return f"<memory of {size:,} bytes>", 0
        with value.cast("B") as flat:
            return f"memoryview({bytes(flat[: ARRAY_BYTES // 16])!r})", max(0, size - ARRAY_BYTES // 16)
    except (ValueError, TypeError):
        return "<released memory>", 0


def _held(value: Any) -> dict[str, Any]:
    held = {}
    for name, member in _slots[type(value)].items():
        with contextlib.suppress(AttributeError):
            held[name] = member.__get__(value)
    return held
