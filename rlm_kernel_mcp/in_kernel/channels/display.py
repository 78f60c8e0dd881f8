"""What a step shows besides printing: the last expression's value, and `display()`.

A courtesy to the host's memory, not a wall. Is: text of bounded length, and PNG or JPEG pictures of bounded size; in a
kernel that another Jupyter client owns, the other types of a notebook too. Is not: JavaScript, which nobody gets, nor
types of a notebook for a session of our own, where nobody renders them: there what has no better text is shown by its
source (`in_kernel/display_text/sources.py`).
Above: `in_kernel/ipython/shell.py`. Below: `in_kernel/display_text/value_text.py`, `output.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Final

from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.zmqshell import ZMQDisplayPublisher
from IPython.core.formatters import DisplayFormatter, PlainTextFormatter, catch_format_error
from IPython.lib.pretty import RepresentationPrinter

from rlm_kernel_mcp.in_kernel.channels.output import own_streams
from rlm_kernel_mcp.in_kernel.channels.threads import ThreadsOwnHeader
from rlm_kernel_mcp.in_kernel.courtesies.unawaited import of_result
from rlm_kernel_mcp.in_kernel.courtesies.wording import wording
from rlm_kernel_mcp.in_kernel.display_text.sources import offered_by, says_nothing, with_source
from rlm_kernel_mcp.in_kernel.display_text.value_text import int_text, json_text, not_decimal

TEXT_CHARS: Final = 400_000
"""Longest text of one value."""
CUT: Final = f" …\n[cut after {TEXT_CHARS:,} characters; bind the value to a name and read it in parts]"
ITEMS: Final = 20_000
"""Items of one container that are shown; the rest is counted."""
IMAGE_BYTES: Final = 1_048_576
DISPLAYS_PER_STEP: Final = 1_000
DISPLAY_CHARS_PER_STEP: Final = 32_000_000
"""Characters of text and of base64 pictures that one step may display."""

IMAGES: Final = ("image/png", "image/jpeg")
RICH: Final = (
    "text/html", "text/markdown", "image/svg+xml", *IMAGES, "text/latex", "application/json", "image/gif", "image/webp",
)  # fmt: skip
"""What a notebook is sent besides text. Other types, `application/javascript` first of them, are not sent."""
SENT_TO_AGENTS: Final = "text, PNG and JPEG"
METADATA_CHARS: Final = 40_000
"""JSON of one output's metadata; longer metadata is left out."""

Bundle = dict[str, Any]


class _Full(BaseException):
    """The text has its full length. Not an `Exception`: a value's own `except Exception` must not swallow it."""


class _BoundedText:
    """The stream that a pretty printer writes to."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = TEXT_CHARS

    def write(self, text: str) -> None:
        self._parts.append(text[: self._left])
        self._left -= len(text)
        if self._left < 0:
            self._parts.append(CUT)
            raise _Full

    def text(self) -> str:
        return "".join(self._parts)


class _CountingPrinter(RepresentationPrinter):
    """IPython's pretty printer, which says how many items it left out."""

    def _enumerate(self, seq: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(seq):
            if index >= ITEMS:
                left = f"{len(seq) - index} " if isinstance(seq, Sized) else ""
                self.text(",")
                self.breakable()
                self.text(f"… {left}more items")
                return
            yield index, item


class BoundedTextFormatter(PlainTextFormatter):
    """`text/plain` of a value, at most `TEXT_CHARS` characters and a line that says so."""

    # IPython's decorator: an exception of the value's own code becomes the error of the step.
    @catch_format_error  # type: ignore[untyped-decorator]
    def __call__(self, value: Any) -> str | None:
        """The text; None if the value's own code raised, which is shown as the step's error."""
        stream = _BoundedText()
        printer = _CountingPrinter(
            stream,
            self.verbose,
            self.max_width,
            self.newline,
            max_seq_length=ITEMS,
            singleton_pprinters=self.singleton_printers,
            type_pprinters=self.type_printers | _PRINTERS,
            deferred_pprinters=self.deferred_printers,
        )
        try:
            printer.pretty(value)
            printer.flush()
        except _Full:
            pass
        except NotImplementedError:
            # IPython would take it for "no text", and show nothing at all.
            formatter: Any = self.parent
            formatter.parent.showtraceback()
            return None
        return stream.text()


def _print_text(value: Any, printer: Any, cycle: bool) -> None:
    del cycle
    printer.text(repr(value if len(value) <= TEXT_CHARS else value[: TEXT_CHARS + 1]))


def _print_int(value: int, printer: Any, cycle: bool) -> None:
    del cycle
    printer.text(int_text(value) + not_decimal(value))


_PRINTERS: Final[dict[type, Callable[[Any, Any, bool], None]]] = {
    str: _print_text,
    bytes: _print_text,
    bytearray: _print_text,
    int: _print_int,
}


_PLAIN: Final = frozenset({str, bytes, int, float, bool, complex, type(None), list, tuple, dict, set, frozenset})
"""Types that show as text alone, so that no other formatter has to be asked."""


class BoundedDisplayFormatter(DisplayFormatter):
    """Formats a value as text and, where it offers them, in the types that the kernel's client is sent."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.formatters["text/plain"] = BoundedTextFormatter(parent=self)
        self.show(RICH)

    def show(self, types: Sequence[str]) -> None:
        """Offer these types besides text from now on."""
        self.types = types
        self.active_types = ["text/plain", *(kind for kind in types if kind in self.formatters)]

    def format(
        self, obj: Any, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> tuple[Bundle, Bundle]:
        """The value's MIME bundle and its metadata."""
        if type(obj) in _PLAIN and include is exclude is None and not self._has_printer(type(obj)):
            text = self.formatters["text/plain"](obj)
            return ({} if text is None else {"text/plain": _bounded(text)}), {}
        data, metadata = super().format(obj, include, exclude)
        if self.types is IMAGES and says_nothing(data.get("text/plain")):
            data |= offered_by(obj, self.formatters)
        return presentable(data, metadata, self.types) if data else ({}, {})

    def _has_printer(self, cls: type) -> bool:
        return any(cls in self.formatters[kind].type_printers for kind in self.types if kind in self.formatters)


def presentable(data: Bundle, metadata: Bundle | None, types: Sequence[str]) -> tuple[Bundle, Bundle]:
    """The part of a MIME bundle that the kernel's client is sent, and its metadata.

    What is left out is said in the text.
    """
    shown: Bundle = {}
    notes: list[str] = []
    sent = SENT_TO_AGENTS if types is IMAGES else ", ".join(("text/plain", *types))
    texts = dict(_own_texts(data))
    for mime_type, value in (with_source(texts, sent) if types is IMAGES else texts).items():
        if mime_type == "text/plain" and isinstance(value, str):
            notes.insert(0, _bounded(value))
        elif mime_type not in types or (size := _size(mime_type, value)) is None:
            continue
        elif size <= IMAGE_BYTES:
            shown[mime_type] = value
        else:
            notes.append(f"[{mime_type} of {size:,} bytes is not shown: the limit is {IMAGE_BYTES:,}]")
    if data and not shown and not notes:
        notes.append(f"[an output of type {', '.join(map(str, data))[:100]} is not shown: {sent} are]")
    shown = ({"text/plain": "\n".join(notes)} if notes else {}) | shown
    return shown, _about(shown, metadata) if metadata and types is not IMAGES else {}


def _own_texts(data: Bundle) -> Iterator[tuple[str, Any]]:
    """Types and values of a bundle, each text as a plain `str`: one of a subclass could claim to be anything."""
    for mime_type, value in data.items():
        if issubclass(type(mime_type), str):
            yield str.__str__(mime_type), str.__str__(value) if issubclass(type(value), str) else value


def _size(mime_type: str, value: object) -> int | None:
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


def _bounded(text: str) -> str:
    # A formatted text ends with the note on its own cut, so it may be a little longer.
    return text if len(text) <= TEXT_CHARS + len(CUT) else text[:TEXT_CHARS] + CUT


class BoundedDisplayHook(ZMQShellDisplayHook):
    """Publishes the last expression's value; keeps it as `_` and nowhere else."""

    shell: Any

    def quiet(self) -> bool:
        """Whether the step ends in a semicolon; it is tokenized only if it has one at all."""
        cells = self.shell.history_manager.input_hist_parsed
        return bool(cells and ";" in cells[-1] and super().quiet())

    def update_user_ns(self, result: Any) -> None:
        """Bind `_`, unless the value could not be shown, or the step's code uses that name for something of its own."""
        names = self.shell.user_ns
        if self.shell.last_error is None and ("_" not in names or names["_"] is self._):
            self._ = names["_"] = result
        if self.shell.runs_for_agent and (said := of_result(result)):
            sys.stderr.write(said)

    def finish_displayhook(self) -> None:
        """Send the value together with the end of the step, which follows at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        with self.pub_socket.io_thread.hold():
            super().finish_displayhook()

    def log_output(self, format_dict: Mapping[str, Any]) -> None:
        """Note the text for a notebook's history; IPython would keep every one that was ever shown."""
        kernel = self.shell.kernel
        if not kernel.owned and isinstance(text := format_dict.get("text/plain"), str):
            kernel.cells.note_result(self.prompt_count, text)


class BoundedDisplayPublisher(ThreadsOwnHeader, ZMQDisplayPublisher):
    """Publishes what `display()` is given, within the budget of a step."""

    shell: Any

    _step: Any = None
    _left = 0
    _chars_left = 0

    def publish(self, data: Any, metadata: Any = None, **options: Any) -> None:  # type: ignore[override]
        """Publish what may be shown; once a step's budget is used, one line on stderr says so."""
        step = self.parent_header.get("msg_id")
        if step != self._step:
            self._step, self._left, self._chars_left = step, DISPLAYS_PER_STEP, DISPLAY_CHARS_PER_STEP
        if self._left <= 0:
            return
        shown, about = presentable(data, metadata, self.shell.display_formatter.types)
        self._left -= 1
        self._chars_left -= sum(_size(kind, value) or 0 for kind, value in shown.items())
        if self._left and self._chars_left >= 0:
            for stream in own_streams():
                stream.flush_next()
            super().publish(shown, about, **_short(options))
        else:
            self._left, cell = 0, wording().cell
            sys.stderr.write(
                f"[this and all further displays of the {cell} are dropped: a {cell} may show "
                f"{DISPLAYS_PER_STEP - 1:,} of them, of {DISPLAY_CHARS_PER_STEP:,} characters in all]\n"
            )


def _short(options: Bundle) -> Bundle:
    """Options of a display, without transient data that is long or not JSON, none of which is ever shown."""
    made = json_text(options.get("transient"))
    return options if made is not None and made[1] and len(made[0]) <= METADATA_CHARS else options | {"transient": {}}


def install_display_limits(shell: Any) -> None:
    """Replace the shell's formatter, display hook and display publisher by the bounded ones."""
    shell.display_formatter = BoundedDisplayFormatter(parent=shell)
    shell.displayhook_class = BoundedDisplayHook
    shell.init_displayhook()
    shell.display_pub_class = BoundedDisplayPublisher
    shell.init_display_pub()
