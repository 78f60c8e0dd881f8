"""Questions about the sources of Python's standard library, which `ast` answers exactly.

Is: so many of its modules as have the length, chosen by the seed; three questions; a program that has each function
judged by who answers. Is not: what needs to be understood: the answer is exact because a parser knows it.
"""

from __future__ import annotations

import ast
import json
import random
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from bench.dense.families.oolong import with_values
from bench.dense.tasks import CHARS_A_TOKEN, Family, Paper, Task

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
INNER = (*FUNCTIONS, ast.Lambda, ast.ClassDef)
CUT = "\n# ---- the next function ----\n"
FUNCTIONS_A_QUESTION = 25
PROMPT = (
    "The text is Python functions, with a comment line between each and the next. Say of each, in their order, whether "
    "it is a generator function: one with a yield or yield from of its own, not of a function inside it."
)
PROGRAM = """
import ast, json, re

trees = {name: ast.parse(text) for name, text in documents.items()}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
pieces, methods, importers = [], {}, 0
for name, tree in trees.items():
    lines = re.findall(r"[^\\n]*\\n|[^\\n]+", documents[name])
    imported = False
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            pieces.append("".join(lines[node.lineno - 1 : node.end_lineno]))
        elif isinstance(node, ast.ClassDef):
            of_its_own = sum(isinstance(one, FUNCTION) for one in node.body)
            methods[f"{name}/{node.name}"] = max(of_its_own, methods.get(f"{name}/{node.name}", 0))
        elif isinstance(node, ast.Import):
            imported |= any(alias.name.partition(".")[0] == __MODULE__ for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported |= node.module.partition(".")[0] == __MODULE__
    importers += imported
blocks = [pieces[at : at + __SIZE__] for at in range(0, len(pieces), __SIZE__)]
got = llm_query_batched(__PROMPT__, [__CUT__.join(block) for block in blocks], schema={"type": "array", "items": {"type": "boolean"}})
assert all(isinstance(one, list) for one in got), [one for one in got if not isinstance(one, list)][:1]
assert [len(one) for one in got] == [len(block) for block in blocks], "a block has not a word on each function"
answers = {
    "generators": f"Answer: {sum(map(sum, got))}",
    "importers": f"Answer: {importers}",
    "class": f"Answer: {min(methods, key=lambda name: (-methods[name], name))}",
}
len(documents), len(pieces), len(blocks)
"""  # noqa: E501 (a program)


NOT_ASKED_ABOUT = ("site-packages", "dist-packages", "test", "lib2to3", "idlelib")
ENOUGH = 0.95
"""Of the length: no module is looked for that has just the rest."""


def modules(top: Path) -> list[Path]:
    """Those of the library, without its tests."""
    return [
        path for path in sorted([*top.glob("*.py"), *top.glob("*/*.py")]) if path.parent.name not in NOT_ASKED_ABOUT
    ]


def read(path: Path) -> str | None:
    """A module's text, if it is UTF-8 and valid Python."""
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    return text if not {"\ufffd", "\r", "\f"} & set(text) and _tree(text) is not None else None


def _tree(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            return None


def paper(tokens: int, seed: int) -> Paper:
    """Modules in a seeded order, until the length is reached."""
    rng = random.Random(f"code base {tokens} {seed}")
    whole = left = tokens * CHARS_A_TOKEN
    top, texts = Path(sysconfig.get_path("stdlib")).resolve(), dict[str, str]()
    paths = modules(top)
    rng.shuffle(paths)
    for path in paths:
        if left < whole * (1 - ENOUGH):
            break
        if path.stat().st_size < left and (text := read(path)) is not None:
            texts[path.relative_to(top).as_posix()] = text
            left -= len(text)
    trees = [(name, tree) for name in sorted(texts) if (tree := _tree(texts[name])) is not None]
    imported = sorted({module for _, tree in trees for module in imports_of(tree)})
    module = rng.choice(imported or ["sys"])
    program = with_values(PROGRAM, module=module, size=FUNCTIONS_A_QUESTION, prompt=PROMPT, cut=CUT)
    name = f"code, 2^{tokens.bit_length() - 1}, seed {seed}"
    return Paper("code", name, {name: texts[name] for name, _ in trees}, tuple(_tasks(trees, module)), program)


def _tasks(trees: list[tuple[str, ast.Module]], module: str) -> Iterator[Task]:
    nodes = [(name, node) for name, tree in trees for node in ast.walk(tree)]
    generators = sum(isinstance(node, FUNCTIONS) and is_generator(node) for _, node in nodes)
    yield Task(
        "generators",
        "How many functions and methods of these files, inner ones too, are generator functions, that is, have a yield "
        "or yield from of their own? Give your final answer in the form 'Answer: number'.",
        str(generators), "exact",
    )  # fmt: skip
    yield Task(
        "importers",
        f"How many of these files import the module {module}, or anything of it, anywhere? Relative imports do not "
        "count. Give your final answer in the form 'Answer: number'.",
        str(sum(module in imports_of(tree) for _, tree in trees)), "exact",
    )  # fmt: skip
    classes = sorted(
        (-sum(isinstance(one, FUNCTIONS) for one in node.body), f"{name}/{node.name}")
        for name, node in nodes
        if isinstance(node, ast.ClassDef)
    )
    if classes:
        yield Task(
            "class",
            "Which class of these files has the most functions directly in its body? If several have, name the first "
            "of them in the alphabet. Give your final answer in the form 'Answer: file.py/Name'.",
            classes[0][1], "exact",
        )  # fmt: skip


def imports_of(tree: ast.Module) -> set[str]:
    """The first parts of the names of the modules that it imports."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def is_generator(function: ast.AST) -> bool:
    """Whether it has a yield of its own; one in an asynchronous function counts too."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, INNER):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def answer(prompt: str, text: str) -> str | None:
    """A word on each function, as JSON."""
    if prompt != PROMPT:
        return None
    return json.dumps([_judged(piece) for piece in text.split(CUT)])


def _judged(piece: str) -> bool:
    whole = f"if True:\n{piece}" if piece[:1].isspace() else piece
    tree = _tree(whole)
    assert tree is not None, piece
    return is_generator(next(node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)))


FAMILY = Family("code", paper, answer)
