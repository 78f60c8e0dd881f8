"""Guesses whether a step may show something else when it runs again, by what depends on the machine or the moment.

Is: a look at code and output, statement by statement: what depends on an impure call is impure too, by the names that
it binds. Is not: a proof, nor meant as one: code can read a clock in ways that no look at it finds. What a guess misses
`notebook run` finds, since it compares. Sans-I/O, and nothing of the code is run. Above: `events.py`. Below: the
standard library.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.notebook.form.names import Why

CODE_CHARS_MAX: Final = 200_000
CLOCK: Final = re.compile(
    r"(?:.*\.)?(?:time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|process_time|process_time_ns"
    r"|thread_time|now|utcnow|today|localtime|gmtime|ctime|timeit|default_timer)"
)
CHANCE: Final = re.compile(
    r"(?:random|secrets)\.(?!Random$|seed$)\w+|(?:.*\.)?(?:uuid1|uuid4|urandom|SystemRandom|token_hex|token_bytes"
    r"|token_urlsafe|shuffle|randint|randrange|getrandbits)"
)
ADDRESS: Final = re.compile(r"id|hash")
SHOWN_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{6,16}\b")
SHOWN_SCRATCH: Final = re.compile(r"(?<![\w.-])rlm[\w-]{0,40}/\w{8}/\w{8}/w\b")
"""As `kernel/placement/` makes its path: in a place, a server's directory, and in that one of a kernel."""
MAGIC: Final = re.compile(r"^[ \t]*%{1,2}(?:time|timeit|prun)\b", re.MULTILINE)
"""Each looks once at each run of its characters: code and output are anybody's, and megabytes of them."""
_IN_ORDER: Final = frozenset(
    {"list", "tuple", "iter", "next", "enumerate", "zip", "map", "filter", "join", "print", "str"}
)
"""Functions that show in which order a set has its items."""
_OF_SETS: Final = frozenset({"set", "frozenset"})
_SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference"})

Guess = frozenset[Why]
NOTHING: Final[Guess] = frozenset()


class Guesses:
    """Over the steps of one session, in their order: a name keeps what the statement that bound it depends on."""

    def __init__(self) -> None:
        self._names: dict[str, Guess] = {}
        self._sets: set[str] = set()
        self._is_seeded = False

    def of_step(self, code: str, shown: str) -> list[Why]:
        """What this step's output may depend on. `shown`: all that it said."""
        found = set(self._of_code(code))
        if SHOWN_ADDRESS.search(shown):
            found.add("address")
        if SHOWN_SCRATCH.search(shown):
            found.add("place")
        return sorted(found)

    def _of_code(self, code: str) -> Iterator[Why]:
        if MAGIC.search(code):
            yield "clock"
        if len(code) > CODE_CHARS_MAX:
            return
        try:
            for statement in ast.parse(code).body:
                yield from self._statement(statement)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # IPython's language, or made to be deep
            return

    def _statement(self, statement: ast.stmt) -> Guess:
        """Note what the names that it binds depend on; returns what is shown by it depends on."""
        nodes = list(ast.walk(statement))
        found = NOTHING.union(*(self._of(node) for node in nodes))
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound = {statement.name}
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return NOTHING
        is_set = isinstance(statement, ast.Assign | ast.AnnAssign) and self._is_set(statement.value)
        for name in bound:
            self._names[name] = found
            (self._sets.add if is_set else self._sets.discard)(name)
        only_binds = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        return NOTHING if isinstance(statement, only_binds) else found

    def _of(self, node: ast.AST) -> Guess:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            return self._names.get(node.id, NOTHING)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.For | ast.AsyncFor) and self._is_set(node.iter):
            return frozenset({"order"})
        if isinstance(node, ast.Starred) and self._is_set(node.value):
            return frozenset({"order"})
        if isinstance(node, ast.ListComp | ast.DictComp) and any(self._is_set(one.iter) for one in node.generators):
            return frozenset({"order"})
        return NOTHING

    def _call(self, node: ast.Call) -> Guess:
        name = _dotted(node.func)
        if name == "random.seed" and node.args:
            self._is_seeded = True
        if CLOCK.fullmatch(name):
            return frozenset({"clock"})
        if CHANCE.fullmatch(name) and not (self._is_seeded and name.startswith("random.")):
            return frozenset({"chance"})
        if name == "random.Random" and not node.args:
            return frozenset({"chance"})
        if ADDRESS.fullmatch(name):
            return frozenset({"address"})
        if name.rpartition(".")[2] in _IN_ORDER and any(self._is_set(argument) for argument in node.args):
            return frozenset({"order"})
        return NOTHING

    def _is_set(self, node: ast.expr | None) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self._sets
            case ast.Call(func=ast.Name(id=name)):
                return name in _OF_SETS
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                return method in _SET_METHODS and self._is_set(value)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self._is_set(left) or self._is_set(right)
            case _:
                return False


def _dotted(node: ast.expr) -> str:
    """`time.time` of such a call; empty for what is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["?", *reversed(parts)]) if parts else ""
    return ".".join([node.id, *reversed(parts)])
