"""What the programs of tests, soaks and bars name of a kernel is there: a name in a text is seen by no renaming.

An attack that sets or calls what is not there any more does nothing, and whatever it is played against holds.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest

from tests.parts import ROOT
from tests.sessions import SessionDriver

SPEAKS: Final = ("get_ipython", "FORGE", "CHANNELS", "SPEAK")
"""A module has programs that name a kernel's own things if it has one of these."""
NAMES: Final = ("get_ipython", "kernel", "snapshots", "rlm_kernel_mcp")
"""A program that has none of these names nothing of ours."""
FILE: Final = "kernel.json"
OF_OLDER_TREES: Final = "kernel._send_kept"
"""`bin/soak controls` plays its attacks on older trees too."""
PROBE: Final = """
from operator import attrgetter
missing = []
for name in {names!r}:
    try:
        attrgetter(name)(get_ipython())
    except AttributeError:
        missing.append(name)
missing
"""


@cache
def programs() -> list[tuple[str, ast.Module]]:
    """Every text in a Python file of ours that is a program itself, with its module's own text."""
    found = []
    for path in (path for top in ("tests", "bench", "demo") for path in (ROOT / top).rglob("*.py")):
        module = path.read_text(encoding="utf-8")
        with contextlib.suppress(SyntaxError):  # a case of the corpus need not be one
            found += [(module, program) for text in texts_in(ast.parse(module)) if (program := parsed(text))]
    return found


def texts_in(tree: ast.Module) -> Iterator[str]:
    """Texts, those with fields too; a name stands for what a field would be."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in node.values)


def parsed(text: str) -> ast.Module | None:
    """The program, if the text is one that may name something of ours."""
    try:
        return ast.parse(text) if any(name in text for name in NAMES) else None
    except (SyntaxError, ValueError):
        return None


def name_below(node: ast.expr, known: dict[str, str]) -> str | None:
    """The dotted name of an expression below `get_ipython()`, with what a program has called `known`."""
    if isinstance(node, ast.Attribute):
        owner = name_below(node.value, known)
        return None if owner is None else f"{owner}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "type" and len(node.args) == 1:
            return name_below(node.args[0], known)
        return "" if node.func.id == "get_ipython" else None
    return known.get(node.id) if isinstance(node, ast.Name) else None


def names_of_a_kernel() -> set[str]:
    """All that some program names below `get_ipython()`."""
    found: set[str] = set()
    for module, program in programs():
        if not any(word in module for word in SPEAKS):
            continue
        known = {"kernel": "kernel"}
        for node in ast.walk(program):
            if isinstance(node, ast.Assign) and (name := name_below(node.value, known)):
                known |= {target.id: name for target in node.targets if isinstance(target, ast.Name)}
        attributes = (node for node in ast.walk(program) if isinstance(node, ast.Attribute))
        found |= {name for node in attributes if (name := name_below(node, known))}
    return found - {FILE}


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_programs_name_of_a_kernel_is_there(any_session: SessionDriver) -> None:
    """In a real kernel; the one name that only older trees have shows that another would be seen."""
    names = sorted(names_of_a_kernel())
    assert {"kernel._send_snapshot", "kernel.snapshots.take_small", "kernel.session.send"} <= set(names)
    missing = await any_session.ok(PROBE.format(names=names))
    assert missing.result == repr([OF_OLDER_TREES])


@pytest.mark.slow
def test_what_programs_import_of_the_package_is_there() -> None:
    """With what they set or call of it: `ProcessState.put_back = ...` would make a name that nobody calls."""
    found: set[tuple[str, str]] = set()
    for _, program in programs():
        for imported in (node for node in ast.walk(program) if isinstance(node, ast.ImportFrom)):
            if (imported.module or "").startswith("rlm_kernel_mcp"):
                for alias in imported.names:
                    found.add((str(imported.module), alias.name))
                    called = alias.asname or alias.name
                    found |= {
                        (str(imported.module), f"{alias.name}.{node.attr}")
                        for node in ast.walk(program)
                        if isinstance(node, ast.Attribute)
                        and isinstance(node.value, ast.Name)
                        and node.value.id == called
                    }
    assert ("rlm_kernel_mcp.in_kernel.ipython.process_state", "ProcessState.put_back") in found
    assert [row for row in sorted(found) if not is_there(*row)] == []
    assert not is_there("rlm_kernel_mcp.in_kernel.ipython.process_state", "ProcessState.gone")


def is_there(module: str, name: str) -> bool:
    """Whether a module, imported, has a name; a module of a package too."""
    found: object = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{module}.{name}")
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
