"""What comes back after a session's kernel is gone, and what is said of the rest."""

from __future__ import annotations

import pytest

from tests.losses import OWN, lose_kernel, lost, restored
from tests.sessions import Driven

pytestmark = pytest.mark.anyio

KEPT = {
    "values": (
        "i = 7; f = 0.1; big = 1 << 200; c = 2j; t = True; n = None; s = 'text'; b = b'bytes'; r = range(3)\n"
        "l = [1, [2]]; d = {'a': {1, 2}}; tup = (1, 'x'); fs = frozenset('ab'); ba = bytearray(b'x')",
        "(i, f, big == 1 << 200, c, t, n, s, b, r, l, d, tup, sorted(fs), ba)",
        "(7, 0.1, True, 2j, True, None, 'text', b'bytes', range(0, 3), [1, [2]], {'a': {1, 2}}, (1, 'x'), "
        "['a', 'b'], bytearray(b'x'))",
    ),
    "a function sees the names of the session as they are now": (
        "x = 1\ndef f(y, *, z=3): return x + y + z",
        "x = 100; f(10)",
        "113",
    ),
    "a function calls one that was bound later": (
        "def outer(): return inner()\ndef inner(): return 'in'",
        "def inner(): return 'new'\nouter()",
        "'new'",
    ),
    "closures keep what they hold": (
        "def counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up\n"
        "up = counter(); up(); up()",
        "up()",
        "3",
    ),
    "a closure that calls itself": (
        "def make():\n    def fact(n): return 1 if n < 2 else n * fact(n - 1)\n    return fact\nfact = make()",
        "fact(5)",
        "120",
    ),
    "a closure with a cell that is still empty": (
        "def make():\n    def f(): return later\n    if False: later = 1\n    return f\nf = make()",
        "try:\n    f()\nexcept NameError as e:\n    said = str(e)\nsaid",
        "\"cannot access free variable 'later' where it is not associated with a value in enclosing scope\"",
    ),
    "a function's defaults, attributes, annotations and documentation": (
        "def f(a: int, b=[1], *, c='c') -> str:\n    'says'\n    return c\nf.mark = {'x': 1}; f.b_default = f.__defaults__[0]",
        "(f(1), f.__doc__, f.__annotations__['a'] is int, f.mark, f.__defaults__, f.b_default is f.__defaults__[0])",
        "('c', 'says', True, {'x': 1}, ([1],), True)",
    ),
    "lambdas, partials and cached functions": (
        "import functools\nadd = lambda a, b=2: a + b\nhalf = functools.partial(add, 10)\n"
        "@functools.lru_cache(maxsize=64)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(30)",
        "(add(1), half(), fib(50), fib.cache_parameters()['maxsize'])",
        "(3, 12, 12586269025, 64)",
    ),
    "generator functions and coroutines": (
        "def gen(n):\n    for i in range(n): yield i\nasync def co(): return 'co'",
        "(list(gen(3)), await co())",
        "([0, 1, 2], 'co')",
    ),
    "decorated functions": (
        "import functools\ndef shout(f):\n    @functools.wraps(f)\n    def inner(*a): return f(*a).upper()\n"
        "    return inner\n@shout\ndef greet(name): return 'hi ' + name",
        "(greet('you'), greet.__name__)",
        "('HI YOU', 'greet')",
    ),
    "classes and their instances, by one class": (
        "class Base:\n    made = 0\n    def __init__(self, v): self.v = v; Base.made += 1\n    def get(self): return self.v\n"
        "class Sub(Base):\n    def get(self): return super().get() * 2\n    @property\n    def p(self): return 'p'\n"
        "    @classmethod\n    def make(cls): return cls(1)\n    @staticmethod\n    def st(): return 'st'\n"
        "one = Sub(4); many = [Sub(1), Base(2)]",
        "(one.get(), one.p, Sub.make().get(), Sub.st(), isinstance(one, Sub), isinstance(one, Base), "
        "type(many[0]) is Sub, type(many[1]) is Base, Base.made)",
        "(8, 'p', 2, 'st', True, True, True, True, 4)",
    ),
    "a method sees the names of the session as they are now": (
        "scale = 1\nclass Box:\n    def get(self): return scale\nbox = Box()",
        "scale = 5; (box.get(), Box().get())",
        "(5, 5)",
    ),
    "slots, metaclasses and abstract classes": (
        "import abc\nclass Slim:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n"
        "class Meta(type):\n    def __len__(cls): return 3\nclass M(metaclass=Meta): pass\n"
        "class Abstract(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\nclass Real(Abstract):\n    def go(self): return 'go'\n"
        "slim, m, real = Slim(), M(), Real()",
        "(slim.a, len(M), isinstance(m, M), real.go(), isinstance(real, Abstract))",
        "(1, 3, True, 'go', True)",
    ),
    "dataclasses": (
        "from dataclasses import dataclass, field, fields, asdict, replace\n"
        "@dataclass(order=True)\nclass P:\n    x: int\n    y: list = field(default_factory=list)\np = P(1)",
        "(p, P(2), asdict(replace(p, x=5)), [f.name for f in fields(P)], isinstance(p, P), p < P(2))",
        "(P(x=1, y=[]), P(x=2, y=[]), {'x': 5, 'y': []}, ['x', 'y'], True, True)",
    ),
    "frozen dataclasses with slots": (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass Q:\n    a: int = 3\nq = {Q(1): 'one'}",
        "(q[Q(1)], Q())",
        "('one', Q(a=3))",
    ),
    "enums": (
        "from enum import Enum, IntFlag, auto\nclass Colour(Enum):\n    RED = auto()\n    BLUE = auto()\n"
        "class F(IntFlag):\n    A = 1\n    B = 2\nred = Colour.RED; both = F.A | F.B; by = {Colour.BLUE: 1}",
        "(red is Colour.RED, Colour['BLUE'], by[Colour.BLUE], both == F.A | F.B, list(Colour) == [Colour.RED, Colour.BLUE])",
        "(True, <Colour.BLUE: 2>, 1, True, True)",
    ),
    "named tuples, exceptions and typing": (
        "from collections import namedtuple, Counter, defaultdict, deque, OrderedDict\nfrom typing import NamedTuple\n"
        "N = namedtuple('N', 'a b')\nclass T(NamedTuple):\n    q: int = 1\nclass Oops(ValueError):\n    pass\n"
        "n = N(1, 2); t = T(); o = Oops('why'); counts = Counter('aab'); dd = defaultdict(list, a=[1]); dq = deque([1], 3)",
        "dd['z'].append(1); (n, n.b, t, isinstance(n, N), isinstance(o, Oops), o.args, counts['a'], dd['z'], dq.maxlen)",
        "(N(a=1, b=2), 2, T(q=1), True, True, ('why',), 2, [1], 3)",
    ),
    "compiled patterns, dates, numbers": (
        "import re, datetime, decimal, fractions, uuid, random\npat = re.compile('a(.)', re.I)\n"
        "day = datetime.date(2020, 2, 29); dec = decimal.Decimal('0.1'); fr = fractions.Fraction(1, 3)\n"
        "rng = random.Random(5); rng.random(); expected = random.Random(5); expected.random(); nxt = expected.random()",
        "(pat.findall('xAb'), day.isoformat(), dec, fr, rng.random() == nxt)",
        "(['b'], '2020-02-29', Decimal('0.1'), Fraction(1, 3), True)",
    ),
    "modules and what was imported from them": (
        "import json, collections.abc as cabc, math as m\nfrom json import dumps\nfrom statistics import mean\nfrom math import sqrt",
        "(json.loads('[1]'), issubclass(list, cabc.Sequence), m.sqrt(4), dumps({}), mean([1, 3]), sqrt(9))",
        "([1], True, 2.0, '{}', 2, 3.0)",
    ),
    "a second name of the context": (
        "text = context; docs = documents; where = scratch; part = context[2:4]",
        "(text is context, docs is documents, where == scratch, part)",
        "(True, True, True, 'me')",
    ),
    "a name of the session's own that was bound anew": ("context = ['mine']", "context", "['mine']"),
    "text of every kind": (
        r"odd = '\ud800 \0 \U0001f600 ' + chr(0xe000)",
        "[hex(ord(c)) for c in odd if c != ' ']",
        "['0xd800', '0x0', '0x1f600', '0xe000']",
    ),
    "a structure that holds itself": (
        "loop = [1]; loop.append(loop); pair = {'l': loop}; pair['p'] = pair",
        "(loop[1] is loop, pair['p'] is pair, pair['l'][1] is pair['l'])",
        "(True, True, True)",
    ),
    "a deep structure": (
        "deep = []\nfor _ in range(300): deep = [deep]",
        "n = 0\nwhile deep: deep = deep[0]; n += 1\nn",
        "300",
    ),
}


@pytest.mark.parametrize("what", KEPT)
async def test_what_a_fresh_kernel_has_of_the_one_before(session: Driven, what: str) -> None:
    """By value, each name by itself, and without a word about a loss."""
    make, use, expected = KEPT[what]
    await session.ok(make)
    await lose_kernel(session)
    report = await session.run(use)
    assert lost(report) == {}
    assert report.status == "ok", report
    assert report.result is not None
    assert " ".join(report.result.split()).replace("( ", "(") == expected
    assert (await session.ok("1")).lost is None


NOT_KEPT = {
    "a generator": ("x = (i for i in range(3)); next(x)", "cannot pickle 'generator' object"),
    "a lock": ("import threading\nx = threading.Lock()", "cannot pickle '_thread.lock' object"),
    "a file open for writing": ("x = open(scratch + '/f', 'w')", "cannot keep 'TextIOWrapper' objects"),
    "a file open for reading": ("open(scratch + '/f', 'w').close(); x = open(scratch + '/f')", "cannot keep"),
    "a file of bytes": ("x = open(scratch + '/f', 'wb')", "cannot pickle '_io.BufferedWriter' object"),
    "a running coroutine": ("async def c(): pass\nx = c(); __import__('warnings').simplefilter('ignore')", "coroutine"),
    "a thread": ("import threading\nx = threading.Thread(target=print)", "cannot pickle"),
    "an iterator of a module": (
        "import csv, io\nx = csv.reader(io.StringIO('a'))",
        "cannot pickle '_csv.reader' object",
    ),
    "a view of bytes": ("x = memoryview(b'abc')", "cannot keep 'memoryview' objects"),
    "what refuses": (
        "class C:\n    def __reduce__(self): raise ValueError('no and no')\nx = C()",
        "ValueError: no and no",
    ),
    "what raises more than an Exception": (
        "class C:\n    def __reduce__(self): raise SystemExit(3)\nx = C()",
        "SystemExit: 3",
    ),
    "what raises an exception whose text raises": (
        "class E(Exception):\n    def __str__(self): raise E\nclass C:\n    def __reduce__(self): raise E\nx = C()",
        "__str__ raised E",
    ),
    "what lies of itself": ("class C:\n    def __reduce__(self): return 5\nx = C()", "must return a string or tuple"),
    "what names what is not there": (
        "class C:\n    def __reduce__(self): return 'no_such_name'\nx = C()",
        "no_such_name",
    ),
    "what raises when it is restored": (
        "def bad(): raise ValueError('not back')\nclass C:\n    def __reduce__(self): return bad, ()\nx = C()",
        "ValueError: not back",
    ),
    "what leaves when it is restored": (
        "def bad(): raise SystemExit(4)\nclass C:\n    def __reduce__(self): return bad, ()\nx = C()",
        "SystemExit: 4",
    ),
    "a structure too deep to walk": ("x = []\nfor _ in range(100_000): x = [x]", "recursion"),
}


@pytest.mark.parametrize("what", NOT_KEPT)
async def test_what_cannot_be_had_back_is_named_with_its_reason(session: Driven, what: str) -> None:
    """The names beside it come back all the same."""
    make, why = NOT_KEPT[what]
    await session.ok(f"beside = [1]\n{make}\nafter = 'a'")
    await lose_kernel(session)
    report = await session.ok("(beside, after)")
    assert report.result == "([1], 'a')"
    assert set(lost(report)) == {"x"}
    assert why in lost(report)["x"]
    assert restored(report) >= {"beside", "after"} | OWN
