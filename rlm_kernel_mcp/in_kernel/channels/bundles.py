"""What of a value's MIME types goes to whom: to the kernel's client, and beside that to the record of our host.

A courtesy to the host's memory, not a wall. Is: text of bounded length and pictures of bounded size for an agent; in a
kernel that another Jupyter client owns, the other types of a notebook too. HTML, Markdown and SVG of an agent's steps
go into the record alone, under a key of ours that no Jupyter client reads, so that they act nowhere. Is not:
JavaScript, which nobody gets. Above: `display.py`. Below: `packing.py`, `in_kernel/display_text/sources.py`, `wire.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from IPython.utils.dir2 import get_real_method

from rlm_kernel_mcp.in_kernel.channels.packing import pack
from rlm_kernel_mcp.in_kernel.display_text.sources import with_source
from rlm_kernel_mcp.in_kernel.display_text.value_text import json_text
from rlm_kernel_mcp.wire import DisplayExtra

TEXT_CHARS: Final = 400_000
"""Longest text of one value."""
CUT: Final = f" …\n[cut after {TEXT_CHARS:,} characters; bind the value to a name and read it in parts]"
IMAGE_BYTES: Final = 1_048_576
KEPT_CHARS: Final = 256_000
"""Longest text of one value that goes into the record alone; of a longer one that is said there."""
BUNDLE_BYTES: Final = 2_500_000
"""Of one value's types together, as JSON, where some of them are for the record: the host reads no larger messages."""

IMAGES: Final = ("image/png", "image/jpeg")
RICH: Final = (
    "text/html", "text/markdown", "image/svg+xml", *IMAGES, "text/latex", "application/json", "image/gif", "image/webp",
)  # fmt: skip
"""What a notebook is sent besides text. Other types, `application/javascript` first of them, are not sent."""
KEPT: Final = ("text/html", "text/markdown", "image/svg+xml")
"""What is kept of an agent's displays besides that."""
SENT_TO_AGENTS: Final = "text, PNG and JPEG"
METADATA_CHARS: Final = 40_000
"""JSON of one output's metadata; longer metadata is left out."""

Bundle = dict[str, Any]
Why = Literal["too_large", "too_many", "failed"]


class ShownBundle(Bundle):
    """A MIME bundle for the kernel's client, which has with it what goes into the record alone."""

    extra: DisplayExtra | None = None


def kept_of(value: object, data: Bundle, formatters: Mapping[str, Any]) -> dict[str, Any]:
    """The types for the record that a value has, those that are made already (`data`) among them.

    None in place of one whose making raised: nobody has asked for it, so that this is no error of the step.
    """
    found: dict[str, Any] = {kind: data[kind] for kind in KEPT if kind in data}
    for kind in KEPT:
        if kind not in found:
            try:
                made = _made(value, formatters[kind])
            except Exception:  # noqa: BLE001  (the value's own code)
                found[kind] = None
            else:
                found |= {} if made is None else {kind: made[0] if type(made) is tuple and made else made}
    return found


def _made(value: object, formatter: Any) -> Any:
    """A value's text of a type, or that and its metadata, made as IPython does; None: it has none."""
    try:
        registered = formatter.lookup(value)
    except KeyError:
        method = get_real_method(value, formatter.print_method)
        return None if method is None else method()
    return registered(value)


def extra_of(shown: Bundle, kept: Mapping[str, Any]) -> DisplayExtra | None:
    """What goes into the record beside what is shown, as far as both fit one message; None: nothing does."""
    texts: dict[str, str] = {}
    left_out: dict[str, Why] = {}
    for kind, text in _own_texts(dict(kept)):
        if kind not in KEPT:
            continue
        if type(text) is not str:
            left_out[kind] = "failed"
        elif len(text) > KEPT_CHARS:
            left_out[kind] = "too_large"
        elif text:
            texts[kind] = text
    while texts and len(pack([shown, texts])) > BUNDLE_BYTES:
        longest = max(texts, key=lambda kind: len(texts[kind]))
        del texts[longest]
        left_out[longest] = "too_large"
    return {"kept": texts, "left_out": left_out} if texts or left_out else None


def presentable(
    data: Bundle, metadata: Bundle | None, types: Sequence[str], kept: Mapping[str, Any] | None = None
) -> tuple[ShownBundle, Bundle]:
    """The part of a MIME bundle that the kernel's client is sent, and its metadata.

    What is left out is said in the text. `kept`: what goes into the record, where that is more than the bundle has.
    """
    shown: Bundle = {}
    notes: list[str] = []
    sent = SENT_TO_AGENTS if types is IMAGES else ", ".join(("text/plain", *types))
    texts = dict(_own_texts(data))
    for mime_type, value in (with_source(texts, sent) if types is IMAGES else texts).items():
        if mime_type == "text/plain" and isinstance(value, str):
            notes.insert(0, bounded(value))
        elif mime_type not in types or (size := size_of(mime_type, value)) is None:
            continue
        elif size <= IMAGE_BYTES:
            shown[mime_type] = value
        else:
            notes.append(f"[{mime_type} of {size:,} bytes is not shown: the limit is {IMAGE_BYTES:,}]")
    if data and not shown and not notes:
        notes.append(f"[an output of type {', '.join(map(str, data))[:100]} is not shown: {sent} are]")
    whole = ShownBundle(({"text/plain": "\n".join(notes)} if notes else {}) | shown)
    if types is IMAGES:
        whole.extra = data.extra if isinstance(data, ShownBundle) else extra_of(whole, kept or texts)
    return whole, _about(whole, metadata) if metadata and types is not IMAGES else {}


def _own_texts(data: Bundle) -> Iterator[tuple[str, Any]]:
    """Types and values of a bundle, each text as a plain `str`: one of a subclass could claim to be anything."""
    for mime_type, value in data.items():
        if issubclass(type(mime_type), str):
            yield str.__str__(mime_type), str.__str__(value) if issubclass(type(value), str) else value


def size_of(mime_type: str, value: object) -> int | None:
    """Bytes or characters of a value; None if it is not what its type asks for."""
    if mime_type == "application/json":
        made = json_text(value)
        return None if made is None else len(made[0]) if made[1] else IMAGE_BYTES + 1
    return (
        len(value) if isinstance(value, str) or (isinstance(value, bytes) and mime_type.startswith("image/")) else None
    )


def _about(shown: Bundle, metadata: Bundle) -> Bundle:
    """The metadata of what is shown, without that of types that are left out; only what is JSON and short."""
    kept = {name: value for name, value in metadata.items() if name in shown or "/" not in str(name)}
    made = json_text(kept)
    return kept if made is not None and made[1] and len(made[0]) <= METADATA_CHARS else {}


def bounded(text: str) -> str:
    """A text of at most `TEXT_CHARS`, and the line that says so."""
    # A formatted text ends with the note on its own cut, so it may be a little longer.
    return text if len(text) <= TEXT_CHARS + len(CUT) else text[:TEXT_CHARS] + CUT
