"""Ten questions to the standard library of the Python that runs, answered a second way by `ast`, find and grep."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path
from typing import Any, Final

from tests.questions.asking import Passage, Question, find, grep_all, passage

ROOT: Final = Path(sysconfig.get_path("stdlib")).resolve()
PATHS: Final = ("*.py", "*/**/*.py")
Node = tuple[str, Any]
"""A definition or an import, of ast's kinds, and its module."""
EXCLUDE: Final = ("site-packages/", "dist-packages/", "test/", "tests/", "idle_test/", "__pycache__/")


NAMED: Final = ("TaskGroup", r"^class .*Warning\>", "_main", "import.*weakref", "get_event_loop", "SortedDict")
"""What is asked for: a module with none of it is not parsed."""


def names() -> list[str]:
    """Its modules, without tests: distributions differ in those."""
    left_out = [part for one in EXCLUDE for part in ("-not", "-path", f"*/{one}*")]
    return find(ROOT, "-name", "*.py", *left_out)


def questions(documents: list[str]) -> list[Question]:
    """Of which three have no answer."""
    parsed = {name: _parsed(name) for name in grep_all("|".join(NAMED), ROOT, documents)}
    kinds = (ast.ClassDef, ast.FunctionDef, ast.Import)
    nodes = [(name, node) for name, tree in parsed.items() for node in ast.walk(tree) if isinstance(node, kinds)]
    return [*_of_definitions(nodes), *_of_texts(documents, nodes), *_without_an_answer(documents, nodes)]


def _of_definitions(nodes: list[Node]) -> list[Question]:
    group = [(name, node.lineno) for name, node in nodes if _is(node, ast.ClassDef, "TaskGroup")]
    errors = sorted(
        f"{name}:{node.lineno}"
        for name, node in nodes
        if isinstance(node, ast.ClassDef) and node.col_offset == 0 and node.name.endswith("Warning")
    )
    mains = sorted({name for name, node in nodes if _is(node, ast.FunctionDef, "_main") and _column(node) == 0})
    return [
        Question(
            "Where is the class TaskGroup?",
            r"""
where = search(r"^[ \t]*class TaskGroup\b", regex=True)
value = [[hit.doc, hit.line] for hit in where]
""",
            [list(one) for one in group],
            _line(*group[0]),
        ),
        Question(
            "Which classes of the outermost level have a name that ends with Warning?",
            r"""
where = search(r"^class \w*Warning\b", regex=True)
value = sorted(f"{hit.doc}:{hit.line}" for hit in where)
where = sorted(where, key=lambda hit: (hit.doc, hit.line))[:1]
""",
            errors,
            _first(errors),
        ),
        Question(
            "Which modules have a function _main?",
            r"""
value = sorted(count(r"^def _main\(", regex=True))
where = search(r"^def _main\(", regex=True, docs=value[0])
""",
            mains,
            _line(mains[0], _lineno(nodes, mains[0], "_main")),
        ),
    ]


def _of_texts(documents: list[str], nodes: list[Node]) -> list[Question]:
    importers = sorted({
        name for name, node in nodes
        if isinstance(node, ast.Import) and node.col_offset == 0 and any(one.name == "weakref" for one in node.names)
    })  # fmt: skip
    raised = grep_all("raise NotImplementedError", ROOT, documents)
    by_count = sorted(((-len(rows), name) for name, rows in raised.items()))
    asyncio = [name for name in documents if name.startswith("asyncio/")]
    chars = sum(len((ROOT / name).read_bytes().decode()) for name in asyncio)
    licence = "Licensed to PSF under a Contributor Agreement"
    licensed = grep_all(licence, ROOT, documents)
    first = min(licensed)
    return [
        Question(
            "Which modules import weakref at their outermost level, by a statement import?",
            r"""
hits = search(r"^import (?:[\w., ]*[ ,])?weakref\b", regex=True, limit=None)
value = sorted({hit.doc for hit in hits})
where = min(hits, key=lambda hit: (hit.doc, hit.line)),
""",
            importers,
            _line(importers[0], min(_imports(nodes, importers[0], "weakref"))),
        ),
        Question(
            "Which module raises NotImplementedError most often?",
            r"""
counts = count("raise NotImplementedError")
most = min(counts, key=lambda doc: (-counts[doc], doc))
value = [most, counts[most], counts.total]
where = search("raise NotImplementedError", docs=most, limit=1)
""",
            [by_count[0][1], -by_count[0][0], -sum(count for count, _ in by_count)],
            _line(by_count[0][1], raised[by_count[0][1]][0][0]),
        ),
        Question(
            "How many modules does the package asyncio have, and how many characters?",
            r"""
value = [list(row) for row in tree(1) if row[0] == "asyncio/"]
where = lines(1, doc="asyncio/__init__.py"),
""",
            [["asyncio/", len(asyncio), chars]],
            _line("asyncio/__init__.py", 1),
        ),
        Question(
            "In how many places is the code licensed to the PSF, and which is the first?",
            rf"""
hits = search({licence!r}, limit=None)
where = min(hits, key=lambda hit: (hit.doc, hit.line)),
value = [hits.total, where[0].doc, where[0].line]
""",
            [sum(map(len, licensed.values())), first, licensed[first][0][0]],
            _line(first, licensed[first][0][0]),
        ),
    ]


def _without_an_answer(documents: list[str], nodes: list[Node]) -> list[Question]:
    zen, loops = "Namespaces are one honking great idea", "def get_event_loops("
    assert not grep_all(zen, ROOT, documents, "-F"), "the Zen of Python is kept in another alphabet"
    assert not grep_all(loops, ROOT, documents, "-F")
    assert not any(_is(node, ast.ClassDef, "SortedDict") for _, node in nodes)
    return [
        Question(
            "Where does the library say that namespaces are a great idea? (It does so in another alphabet.)",
            f"found = quote({zen!r})\nvalue, where = found and found.doc, search('Anzrfcnprf ner bar')",
            None,
            _line("this.py", grep_all("Anzrfcnprf ner bar", ROOT, ["this.py"])["this.py"][0][0]),
            zen,
        ),
        Question(
            "Where is the function get_event_loops? (There is one without the s.)",
            r"""
value, where = len(search(r"\bdef get_event_loops\b", regex=True)), search("def get_event_loop(", docs="asyncio/*")
""",
            0,
            _line("asyncio/events.py", _lineno(nodes, "asyncio/events.py", "get_event_loop")),
            loops,
        ),
        Question(
            "Where is the class SortedDict?",
            r"value, where = count(r'\bclass\s+SortedDict\b', regex=True).total, []",
            0,
            None,
            "class SortedDict(dict):",
        ),
    ]


def _parsed(name: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse((ROOT / name).read_bytes())


def _is(node: ast.AST, kind: type[ast.AST], name: str) -> bool:
    return isinstance(node, kind) and getattr(node, "name", None) == name


def _column(node: Any) -> int:
    return int(node.col_offset)


def _lineno(nodes: list[Node], doc: str, function: str) -> int:
    return int(min(node.lineno for name, node in nodes if name == doc and _is(node, ast.FunctionDef, function)))


def _imports(nodes: list[Node], doc: str, module: str) -> list[int]:
    return [
        node.lineno for name, node in nodes
        if name == doc and isinstance(node, ast.Import) and any(one.name == module for one in node.names)
    ]  # fmt: skip


def _line(doc: str, number: int) -> Passage:
    return passage(doc, number, (ROOT / doc).read_bytes())


def _first(places: list[str]) -> Passage:
    doc, _, number = min(places, key=lambda one: (one.rpartition(":")[0], int(one.rpartition(":")[2]))).rpartition(":")
    return _line(doc, int(number))
