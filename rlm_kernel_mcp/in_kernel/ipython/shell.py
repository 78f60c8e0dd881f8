"""The session's IPython shell.

Is: IPython's kernel shell without what a session must not have (history on disk, kept output, an unbounded `Out`, the
shell's own traceback machinery). Is not: a wall; a courtesy at most. Above: `kernel.py`. Below:
`in_kernel/display_text/tracebacks.py`, `in_kernel/courtesies/cell_source.py`,
`in_kernel/display_text/source_locations.py`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.history import HistoryManager
from traitlets.config import Config

from rlm_kernel_mcp.in_kernel.channels.display import install_display_limits
from rlm_kernel_mcp.in_kernel.channels.output import flush_streams
from rlm_kernel_mcp.in_kernel.channels.packing import pack
from rlm_kernel_mcp.in_kernel.courtesies.cell_source import begins_with_prompt, install_cell_transforms
from rlm_kernel_mcp.in_kernel.courtesies.hints import hint, out_of_memory
from rlm_kernel_mcp.in_kernel.display_text.source_locations import StepCompiler
from rlm_kernel_mcp.in_kernel.display_text.tracebacks import below_the_step, format_exception
from rlm_kernel_mcp.in_kernel.ipython.inspector import SessionInspector
from rlm_kernel_mcp.in_kernel.ipython.interrupts import Interrupts


def shell_config() -> Config:
    """Traits of the shell that a session needs set before it is made."""
    config = Config()
    # The history database costs a write a step and leaves files behind; `history_request` works from memory.
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    # `Out` would keep every result of a session alive.
    config.InteractiveShell.cache_size = 0
    config.InteractiveShell.enable_tip = False  # the banner recommends what is refused here (`!ls`, `%edit`)
    config.InteractiveShell.colors = "nocolor"
    # With these two, a name that is a magic's, or `f x`, would be rewritten before it is compiled.
    config.InteractiveShell.automagic = False
    config.InteractiveShell.autocall = 0
    config.InteractiveShell.inspector_class = SessionInspector
    # jedi reads source files, which the walls hide.
    config.Completer.use_jedi = False
    # From 64 KiB on Session sends without copying, for which pyzmq starts a thread with its own socket: behind the
    # walls that would be the kernel's death.
    config.Session.copy_threshold = sys.maxsize
    config.Session.packer = f"{pack.__module__}.{pack.__name__}"
    return config


class SessionHistory(HistoryManager):
    """The cells of a session, in memory."""

    shell: Any

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        """Keep a cell as `In` and `_i`. IPython would bind one more name a step, `_i1`, `_i2`, ..., for good."""
        self.shell.kernel.cells.note_source(line_num, source)
        self.input_hist_parsed.append(source.rstrip("\n"))
        self.input_hist_raw.append((source if source_raw is None else source_raw).rstrip("\n"))
        self._iii, self._ii, self._i, self._i00 = self._ii, self._i, self._i00, self.input_hist_raw[-1]
        self.shell.user_ns.update(_i=self._i, _ii=self._ii, _iii=self._iii)

    def get_tail(
        self, n: int | None = 10, raw: bool = True, output: bool = False, include_latest: bool = False
    ) -> list[tuple[int, int, Any]]:
        """The newest cells, for `%history -l`; the one that runs is the latest."""
        rows = self._rows("tail", raw, output, n=-1 if n is None else n + (not include_latest))
        return rows if include_latest else rows[:-1]

    def search(
        self,
        pattern: str = "*",
        raw: bool = True,
        search_raw: bool = True,
        output: bool = False,
        n: int | None = None,
        unique: bool = False,
    ) -> list[tuple[int, int, Any]]:
        """The cells that a pattern matches, for `%history -g`."""
        del search_raw
        return self._rows("search", raw, output, pattern=pattern, unique=unique, **({} if n is None else {"n": n}))

    def _rows(self, kind: str, raw: bool, output: bool, **asked: Any) -> list[tuple[int, int, Any]]:
        request = {"hist_access_type": kind, "raw": raw, "output": output, **asked}
        rows: list[tuple[int, int, Any]] = self.shell.kernel.cells.rows(request, self.shell.execution_count)
        return rows


class RlmShell(ZMQInteractiveShell):
    """IPython's shell for one session."""

    last_error: tuple[str, str, list[str]] | None = None
    """(ename, evalue, traceback lines) of the running step's exception, if one was shown."""
    out_of_memory = False
    """Whether a MemoryError was part of it."""
    end_error: tuple[str, str, list[str]] | None = None
    """The error that ended the code. What runs after it (`post_execute`) may show others."""
    display_failed = False
    """Whether the running step's result could not be shown."""
    interrupts: Interrupts
    """The kernel's; set by it."""
    runs_for_agent = False
    """Whether the cell that runs is a step of the session: our own kernel, and nobody at a keyboard."""

    _transformed: tuple[str, str] = ("", "")
    """The latest cell, and what it was transformed to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        install_cell_transforms(self.input_transformer_manager)
        self._own_transformers = self._transformers()
        install_display_limits(self)
        self.db: Any = {}  # `%cd` and `%bookmark` write to it; IPython's own lies in a profile, and there is none

    def init_ipython_dir(self, ipython_dir: str | None) -> None:
        """No directory of IPython's: it would be in the scratch directory, which is read-only where it has no quota."""
        del ipython_dir
        self.ipython_dir = ""

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """IPython 9 would keep every printed character in memory."""
        del channel
        yield

    def _format_exception_for_storage(self, *args: Any, **kwargs: Any) -> list[str]:
        """IPython would format every error a second time, for its history: a second for 1,000 frames."""
        del args, kwargs
        return []

    def init_history(self) -> None:
        """A history in memory."""
        self.history_manager = SessionHistory(shell=self, parent=self)

    def transform_cell(self, raw_cell: str) -> str:
        """The cell as Python. Each step asks twice for the same cell, once from ipykernel and once from IPython."""
        if self._transformed[0] is not raw_cell:
            cell = self._python(raw_cell)
            if cell is None:
                try:
                    cell = super().transform_cell(raw_cell)
                except SyntaxError:  # the tokenizer's; the compiler will say it with the step's location
                    cell = raw_cell
            self._transformed = raw_cell, cell
        return self._transformed[1]

    def should_run_async(self, raw_cell: str, **options: Any) -> bool:
        """Whether the cell awaits at its top level; IPython compiles each to find out."""
        cell = options.get("transformed_cell") or raw_cell
        return ("await" in cell or "async" in cell) and bool(super().should_run_async(raw_cell, **options))

    def _python(self, raw_cell: str) -> str | None:
        """The cell, if it is Python: then IPython's transformers, which tokenize it twice, have nothing to do in it.

        None where they are to be asked: for what is not Python, a person's bare name (`exit`), a pasted prompt that
        happens to be Python, or where somebody has added a transformer.
        """
        cell = raw_cell if raw_cell.endswith("\n") else raw_cell + "\n"
        if begins_with_prompt(cell) or self._transformers() != self._own_transformers:
            return None
        try:
            tree: Any = self.compile.ast_parse(cell, self.compile.get_code_name(raw_cell, cell, self.execution_count))
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return None
        match tree.body:
            case [ast.Expr(value=ast.Name())] if not self.runs_for_agent:
                return None
        return cell

    def _transformers(self) -> list[Any]:
        manager = self.input_transformer_manager
        return [
            *manager.cleanup_transforms,
            *manager.line_transforms,
            *manager.token_transformers,
            *self.input_transformers_post,
        ]

    async def run_ast_nodes(
        self,
        nodelist: list[ast.stmt],
        cell_name: str,
        interactivity: str = "last_expr",
        compiler: Any = compile,
        result: Any = None,
    ) -> bool:
        """Run a step's statements once all of them are compiled: what is not Python does not run even in part."""
        if isinstance(compiler, StepCompiler) and interactivity == "last_expr":
            try:
                compiler.compile_ahead(nodelist, cell_name)
            except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
                if result is not None:
                    result.error_before_exec = error
                self.showtraceback()
                return True
        return bool(await super().run_ast_nodes(nodelist, cell_name, interactivity, compiler, result))

    def _run_cell(self, *args: Any, **kwargs: Any) -> Any:
        """Run a cell's code, and keep what ended it apart from what is shown afterwards."""
        result = super()._run_cell(*args, **kwargs)
        self.note_end(result)
        return result

    def note_end(self, result: Any) -> None:
        """Note the error that ended a cell; it need not have been shown (`set_custom_exc`)."""
        self.end_error = self.last_error
        if self.end_error is None and result is not None:
            error = result.error_before_exec or result.error_in_exec
            self.end_error = error and format_exception(type(error), error, None)

    def init_environment(self) -> None:
        """Set nothing: the environment is the host's choice, without IPython's colour variables."""

    def init_virtualenv(self) -> None:
        """The kernel already runs in its own environment."""

    def showtraceback(
        self,
        exc_tuple: tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
        filename: str | None = None,
        tb_offset: int | None = None,
        exception_only: bool = False,
        running_compiled_code: bool = False,
    ) -> None:
        """Publish the exception through our own bounded formatter."""
        del filename, tb_offset, exception_only, running_compiled_code
        etype, evalue, traceback = self._get_exc_info(exc_tuple)
        if exc_tuple is not None:
            traceback = below_the_step(traceback)
        self.publish_error(etype, evalue, traceback)

    def showsyntaxerror(self, filename: str | None = None, running_compiled_code: bool = False) -> None:
        """A syntax error is shown like any other exception."""
        self.showtraceback(None, filename, None, False, running_compiled_code)

    def show_usage_error(self, exc: BaseException) -> None:
        """A refused or misused magic is an error of the step, not a line on stderr."""
        self.publish_error(type(exc), exc, None)

    def publish_error(self, etype: type[BaseException], evalue: BaseException, traceback: TracebackType | None) -> None:
        """Send the `error` message of the running request and keep its parts for the reply."""
        if issubclass(etype, asyncio.CancelledError) and self.interrupts.hit:
            etype, evalue = KeyboardInterrupt, KeyboardInterrupt("interrupted in an await")
        flush_streams()
        ename, text, lines = format_exception(etype, evalue, traceback)
        if words := out_of_memory(evalue, traceback):
            text, lines[-1] = words, f"{lines[-1]}: {words}"
        if said := hint(evalue, traceback, self.user_ns):
            lines.append(said)
        self.last_error = ename, text, lines
        self.out_of_memory |= any(line.startswith("MemoryError") for line in lines)
        hook: Any = self.displayhook
        if getattr(hook, "msg", None) is not None:
            self.display_failed = True
        topic = hook.topic.replace(b"execute_result", b"error") if hook.topic else None
        content = {"ename": ename, "evalue": text, "traceback": lines}
        hook.session.send(hook.pub_socket, "error", content, hook.parent_header, ident=topic)
        self._last_traceback = lines
