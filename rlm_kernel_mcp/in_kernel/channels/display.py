"""What a step shows besides printing: the last expression's value, and `display()`.

A courtesy to the host's memory, not a wall. Is: the text of a value, and how often a step may show something. Is not:
which types go to whom (`bundles.py`).
Above: `in_kernel/ipython/shell.py`. Below: `bundles.py`, `in_kernel/display_text/value_text.py`, `output.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Final

from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.zmqshell import ZMQDisplayPublisher
from IPython.core.formatters import DisplayFormatter, PlainTextFormatter, catch_format_error
from IPython.lib.pretty import RepresentationPrinter

from rlm_kernel_mcp.in_kernel.channels.bundles import (
    CUT,
    IMAGES,
    METADATA_CHARS,
    RICH,
    TEXT_CHARS,
    Bundle,
    ShownBundle,
    bounded,
    kept_of,
    presentable,
    size_of,
)
from rlm_kernel_mcp.in_kernel.channels.output import own_streams
from rlm_kernel_mcp.in_kernel.channels.threads import ThreadsOwnHeader
from rlm_kernel_mcp.in_kernel.courtesies.unawaited import of_result
from rlm_kernel_mcp.in_kernel.courtesies.wording import wording
from rlm_kernel_mcp.in_kernel.display_text.sources import offered_by, says_nothing
from rlm_kernel_mcp.in_kernel.display_text.value_text import int_text, json_text, not_decimal
from rlm_kernel_mcp.wire import REPLY_KEY, DisplayExtra

ITEMS: Final = 20_000
"""Items of one container that are shown; the rest is counted."""
DISPLAYS_PER_STEP: Final = 1_000
DISPLAY_CHARS_PER_STEP: Final = 32_000_000
"""Characters of text and of base64 pictures that one step may display."""
KEPT_CHARS_PER_STEP: Final = 6_000_000
"""Characters of the types beside those that may go into the record; beyond them nobody misses anything but the record,
which has the number."""


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
            return ({} if text is None else {"text/plain": bounded(text)}), {}
        data, metadata = super().format(obj, include, exclude)
        kept: Bundle = {}
        if self.types is IMAGES and data:
            kept = kept_of(obj, data, self.formatters) if include is exclude is None else {}
            data |= {kind: text for kind, text in kept.items() if text is not None}
            if says_nothing(data.get("text/plain")):
                data |= offered_by(obj, self.formatters, data)
        return presentable(data, metadata, self.types, kept) if data else ({}, {})

    def _has_printer(self, cls: type) -> bool:
        return any(cls in self.formatters[kind].type_printers for kind in self.types if kind in self.formatters)


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

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        """Put what is shown into the message, and beside it what goes into the record alone."""
        super().write_format_data(format_dict, md_dict)
        if self.msg and isinstance(format_dict, ShownBundle) and format_dict.extra is not None:
            self.msg["content"][REPLY_KEY] = format_dict.extra

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
    _chars_left = _kept_left = 0

    def publish(self, data: Any, metadata: Any = None, **options: Any) -> None:  # type: ignore[override]
        """Publish what may be shown; once a step's budget is used, one line on stderr says so."""
        step = self.parent_header.get("msg_id")
        if step != self._step:
            self._step, self._left, self._chars_left = step, DISPLAYS_PER_STEP, DISPLAY_CHARS_PER_STEP
            self._kept_left = KEPT_CHARS_PER_STEP
        if self._left <= 0:
            return
        shown, about = presentable(data, metadata, self.shell.display_formatter.types)
        self._left -= 1
        self._chars_left -= sum(size_of(kind, value) or 0 for kind, value in shown.items())
        if self._left and self._chars_left >= 0:
            for stream in own_streams():
                stream.flush_next()
            with self._beside(self._within_step(shown.extra)):
                super().publish(shown, about, **_short(options))
        else:
            self._left, cell = 0, wording().cell
            sys.stderr.write(
                f"[this and all further displays of the {cell} are dropped: a {cell} may show "
                f"{DISPLAYS_PER_STEP - 1:,} of them, of {DISPLAY_CHARS_PER_STEP:,} characters in all]\n"
            )

    def _within_step(self, extra: DisplayExtra | None) -> DisplayExtra | None:
        """What goes into the record, as long as the step has room for it."""
        if extra is None or not extra["kept"]:
            return extra
        self._kept_left -= sum(map(len, extra["kept"].values()))
        if self._kept_left >= 0:
            return extra
        left_out = dict(extra["left_out"])
        for kind in extra["kept"]:
            left_out[kind] = "too_many"
        return {"kept": {}, "left_out": left_out}

    @contextmanager
    def _beside(self, extra: DisplayExtra | None) -> Iterator[None]:
        """The next message has it, under a key that no other client reads."""

        def add(message: Bundle) -> Bundle:
            message["content"][REPLY_KEY] = extra
            return message

        if extra is None:
            yield
            return
        self.register_hook(add)  # of this thread alone
        try:
            yield
        finally:
            self.unregister_hook(add)


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
