"""Libraries that a kernel imports at first use: hidden while everything else is imported, let in afterwards.

Is: the hiding, and what pandas is told once pyarrow has come: pandas asks whether it is there when pandas is imported,
and keeps the answer. Is not: a wall; that the library can be mapped then is the plan's (`walls/plan.py`), and whether a
step may import it the allowlist's. Above: `in_kernel/preload.py`. Below: `arrival.py`.

pyarrow starts threads as it is imported, and a fork would carry their locks and not them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ExtensionFileLoader
from types import CodeType, ModuleType
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.libraries.arrival import at_arrival

ARROW: Final = "pyarrow"
PANDAS: Final = "pandas"
ANSWERS: Final = "pandas.compat.pyarrow"
"""Where pandas keeps whether there is a pyarrow, and which; its other modules have copies of that."""
SHORT: Final = "pa"
"""What pandas' modules call it."""
IS_THERE: Final = "HAS_PYARROW"

Parts = list[tuple[ModuleType, CodeType]]


@contextmanager
def hidden(names: Sequence[str]) -> Iterator[None]:
    """Meanwhile these cannot be imported, as if they were not installed; one that has been imported already stays."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: "there is no such module"
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]
    if ARROW in absent and ANSWERS in sys.modules:
        _keep_strings_of_python()
        # Read from disk here, once for all forks.
        at_arrival(ARROW, partial(_tell_pandas, _left_out(sys.modules)))


def _keep_strings_of_python() -> None:
    """Have pandas hold strings as Python's objects whether or not pyarrow has come.

    By itself it would hold those of a step before the first use of pyarrow in one way and those of a step after it in
    another: two tables of the same text would differ in dtype by what an earlier step imported.
    """
    pandas: Any = sys.modules[PANDAS]
    pandas.set_option("mode.string_storage", "python")


def _left_out(modules: dict[str, ModuleType]) -> Parts:
    """What pandas' modules would have done at their import if there had been a pyarrow: `if HAS_PYARROW: ...`."""
    parts = []
    for name, module in list(modules.items()):  # in the order in which they were imported: the later use the earlier
        if name.startswith(f"{PANDAS}.") and name != ANSWERS and IS_THERE in vars(module) and not _is_compiled(module):
            spec: Any = module.__spec__
            branches = [
                node
                for node in ast.parse(spec.loader.get_source(name)).body
                if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == IS_THERE
            ]
            found = ast.Module(body=branches, type_ignores=[])  # type: ignore[arg-type]  # a list of statements
            parts.append((module, compile(found, str(module.__file__), "exec")))
    return parts


def _tell_pandas(parts: Parts, library: ModuleType) -> None:
    """Have pandas ask again, give the answers to its modules, and run what they left out."""
    answers = sys.modules[ANSWERS]
    spec: Any = answers.__spec__
    spec.loader.exec_module(answers)
    # All of them, whatever they were: an interrupt of an earlier import may have left some of this undone.
    found = {name: value for name, value in vars(answers).items() if type(value) is bool}
    for name, module in list(sys.modules.items()):
        if name == PANDAS or name.startswith(f"{PANDAS}."):
            if vars(module).get(SHORT, ...) is None:
                setattr(module, SHORT, library)
            elif _is_compiled(module):
                continue  # it has made things at its import that nobody can give it now: it does without, and works
            for answer, value in found.items():
                if answer in vars(module):
                    setattr(module, answer, value)
    if getattr(answers, IS_THERE):  # not where it is older than pandas admits
        for module, code in parts:
            exec(code, vars(module))  # noqa: S102  (pandas' own lines)


def _is_compiled(module: ModuleType) -> bool:
    return module.__spec__ is not None and isinstance(module.__spec__.loader, ExtensionFileLoader)
