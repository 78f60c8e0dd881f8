"""How a variable is shown: exactly, within its bounds, and without a line of its own code."""

from __future__ import annotations

import array
import collections
import contextlib
import ctypes
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import re
import threading
import time
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.in_kernel.display_text.value_text import WORK_CHARS
from rlm_kernel_mcp.in_kernel.display_text.values import View, describe, list_names, view
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents
from tests.parts import one_of_each

WIDE = 200_000


class Ran(AssertionError):
    """Code of the value was run."""


def ran(*args: object, **kwargs: object) -> NoReturn:
    raise Ran(args, kwargs)


SPECIAL = (
    "__repr__ __str__ __len__ __eq__ __ne__ __lt__ __le__ __iter__ __getitem__ __contains__ __bool__ __index__ "
    "__int__ __float__ __format__ __getattr__ __reduce_ex__ __sizeof__ __length_hint__ __dir__ items keys values copy"
)


class HostileMeta(type):
    """A class whose metaclass takes part in every question about it."""

    __hash__ = ran
    __eq__ = ran
    __instancecheck__ = ran
    __subclasscheck__ = ran
    __call__ = type.__call__
    armed = False

    def __getattribute__(cls, name: str) -> Any:
        if type.__getattribute__(cls, "armed"):
            raise Ran(name)
        return type.__getattribute__(cls, name)


def hostile(base: type, *args: object) -> Any:
    """An instance of a subclass of `base`, all of whose code raises."""
    namespace: dict[str, Any] = dict.fromkeys(SPECIAL.split(), ran)
    namespace |= {"__getattribute__": ran, "__class__": property(ran), "armed": False}
    cls = HostileMeta("Hostile", (base,), namespace)
    make: Any = base.__new__
    value = make(cls, *args)
    base.__init__(value, *args) if base in (list, dict, set, collections.deque) else None
    type.__setattr__(cls, "armed", True)
    return value


def shown(value: Any) -> str:
    """The whole text of a value."""
    seen = view(value, 0, WIDE)
    return seen.payload.decode("utf-8", "surrogatepass")


HOSTILES: list[tuple[type, Any, str]] = [
    (list, [1, 2], "Hostile([1, 2])"),
    (dict, {"a": 1}, "Hostile({'a': 1})"),
    (tuple, (1,), "Hostile((1))"),
    (set, [1], "Hostile({1})"),
    (frozenset, [1], "Hostile({1})"),
    (str, "abc", "abc"),
    (bytes, b"abc", "b'abc'"),
    (int, 5, "Hostile(5)"),
    (float, 0.5, "Hostile(0.5)"),
    (collections.deque, [1], "Hostile([1])"),
    (Exception, "no", "Hostile('no')"),
]


@pytest.mark.parametrize(("base", "content", "text"), HOSTILES, ids=[base.__name__ for base, _, _ in HOSTILES])
def test_no_code_of_a_value_is_run(base: type, content: Any, text: str) -> None:
    """Ours: `repr`, `len`, `==`, `__class__`, `__getattribute__` and the metaclass may hang, lie or raise."""
    assert shown(hostile(base, content)) == text
    inner = repr(content) if base in (str, bytes) else text
    assert shown([hostile(base, content), None]) == f"[{inner}, None]"
    assert shown({"key": hostile(base, content)}) == f"{{'key': {inner}}}"


def test_no_code_of_an_object_or_a_class_is_run() -> None:
    """Ours: nor of its metaclass."""
    value = hostile(object)
    assert shown(value) == "<Hostile object>"
    assert shown(type(value)) == "<class 'tests.unit.in_kernel.display_text.test_values.Hostile'>"
    assert describe(type(value)) == ("HostileMeta", None)


def test_the_size_of_a_subclass_is_that_of_what_it_holds() -> None:
    """Ours: `__len__` of a subclass is its own code."""
    assert describe(hostile(list, [1, 2])) == ("Hostile", 2)
    assert describe(hostile(str, "abc")) == ("Hostile", 3)
    assert describe(hostile(object)) == ("Hostile", None)


def test_keys_are_shown_without_asking_them_for_their_hash() -> None:
    """Ours: looking a key up would run its `__hash__` and `__eq__`."""

    class Key:
        calm = True

        def __hash__(self) -> int:
            return 1 if Key.calm else ran()

        def __eq__(self, other: object) -> bool:
            return self is other if Key.calm else ran()

    key = Key()
    held = [{key: 1}, {key}, collections.OrderedDict({key: 1}), collections.Counter([key])]
    Key.calm = False
    assert shown(held[0]) == "{<Key object>: 1}"
    assert shown(held[1]) == "{<Key object>}"
    assert shown(held[2]) == "OrderedDict({<Key object>: 1})"
    assert shown(held[3]) == "Counter({<Key object>: 1})"


JSON_VALUES: list[Any] = [
    None, True, 0, -3, 2**53 - 1, 0.5, 1e300, "", "é", "\x00\x1b", [], {}, (), [1, [2, (3,)]], {"a": [None, {"b": 0}]},
    collections.Counter("aab"), collections.defaultdict(list, {"a": [1]}), collections.OrderedDict(b=1, a=[]),
]  # fmt: skip


@pytest.mark.parametrize("value", JSON_VALUES)
def test_a_value_that_is_json_without_loss_comes_as_json(value: Any) -> None:
    """Contract: `value` is the JSON value itself where it is JSON-able and whole."""
    seen = view(value, 0, WIDE)
    assert seen.json
    assert json.loads(seen.payload) == json.loads(json.dumps(value))


class Row(NamedTuple):
    name: str
    size: int


class Color(enum.Enum):
    RED = 1


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Plain:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int


class SlottedChild(Slotted):
    def __init__(self) -> None:
        super().__init__(1)
        self.y = 2


def parameters(a: int, /, b: int = 1, *rest: int, c: int, **more: int) -> None:
    """A function with parameters of every kind."""


def endless() -> Iterator[int]:
    yield 1


def moved() -> collections.OrderedDict[int, int]:
    ordered = collections.OrderedDict({1: 1, 2: 2})
    ordered.move_to_end(1)
    return ordered


def noted(error: BaseException) -> BaseException:
    error.add_note("a note")
    return error


class Moment(dt.datetime):
    __repr__ = __str__ = isoformat = ran


class Span(dt.timedelta):
    __repr__ = __str__ = ran


def released() -> memoryview:
    view_of_memory = memoryview(b"ab")
    view_of_memory.release()
    return view_of_memory


UTC2 = dt.timezone(dt.timedelta(hours=2))
TEXTS: list[tuple[Any, str]] = [
    (2**53, "9007199254740992"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    (1j, "1j"),
    ([math.inf], "[inf]"),
    ({1: "a", None: b"b"}, "{1: 'a', None: b'b'}"),
    ({1, }, "{1}"),
    (set(), "set()"),
    (frozenset(), "frozenset()"),
    (frozenset([1]), "frozenset({1})"),
    (b"ab\xff", "b'ab\\xff'"),
    (bytearray(b"ab"), "bytearray(b'ab')"),
    ((1, {2}), "(1, {2})"),
    (({1},), "({1},)"),
    (range(3), "range(0, 3)"),
    (range(0, 9, 2), "range(0, 9, 2)"),
    (slice(1, None), "slice(1, None, None)"),
    (collections.Counter([7, 7, 8]), "Counter({7: 2, 8: 1})"),
    (collections.defaultdict(list, {1: [1]}), "defaultdict(<class 'list'>, {1: [1]})"),
    (moved(), "OrderedDict({2: 2, 1: 1})"),
    (collections.deque([1, 2], maxlen=3), "deque([1, 2], maxlen=3)"),
    (collections.ChainMap({"a": 1}), "ChainMap(maps=[{'a': 1}])"),
    ({"a": 1}.keys(), "dict_keys(['a'])"),
    ({"a": 1}.items(), "dict_items([('a', 1)])"),
    (array.array("d", [1, 2]), "array('d', [1.0, 2.0])"),
    (dt.date(2026, 11, 22), "datetime.date(2026, 11, 22)"),
    (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.timezone.utc)"),
    (dt.time(1, tzinfo=UTC2), "datetime.time(1, 0, tzinfo=datetime.timezone(datetime.timedelta(seconds=7200)))"),
    (zoneinfo.ZoneInfo("UTC"), "zoneinfo.ZoneInfo(key='UTC')"),
    (dt.timedelta(1), "datetime.timedelta(days=1)"),
    (decimal.Decimal("1.50"), "Decimal('1.50')"),
    (fractions.Fraction(1, 3), "Fraction(1, 3)"),
    (uuid.UUID(int=5), "UUID('00000000-0000-0000-0000-000000000005')"),
    (re.compile("a+", re.IGNORECASE | re.MULTILINE), "re.compile('a+', re.I|re.M)"),
    (re.match("a", "ab"), "<re.Match object; span=(0, 1), match='a'>"),
    (Row("a", 1), "Row(name='a', size=1)"),
    (Color.RED, "<Color.RED: 1>"),
    (Level.LOW, "<Level.LOW: 1>"),
    (Color, "<class 'tests.unit.in_kernel.display_text.test_values.Color'>"),
    (int, "<class 'int'>"),
    (Plain(1, ["a"]), "Plain(x=1, tags=['a'])"),
    (Slotted(1), "Slotted(x=1)"),
    (SlottedChild(), "SlottedChild(x=1, y=2)"),
    (types.SimpleNamespace(a=1), "SimpleNamespace(a=1)"),
    (noted(KeyError("k")), "KeyError('k')"),
    (parameters, "<function parameters(a, /, b, *rest, c, **more)>"),
    (len, "<built-in function len>"),
    (collections.Counter().most_common, "<bound method Counter.most_common>"),
    (endless(), "<generator endless>"),
    (re, "<module 're'>"),
    (object(), "<object object>"),
    (iter([]), "<list_iterator object>"),
    (pathlib.PurePosixPath("a/b.txt"), "PurePosixPath('a/b.txt')"),
    (pathlib.PurePosixPath("/a") / "./b//c", "PurePosixPath('/a/b/c')"),
    (pathlib.PurePosixPath(), "PurePosixPath('.')"),
    ([pathlib.PureWindowsPath("a/b")], "[PureWindowsPath('a\\\\b')]"),
    (ipaddress.ip_address("10.0.0.1"), "IPv4Address('10.0.0.1')"),
    (ipaddress.ip_address("fe80::1%eth0"), "IPv6Address('fe80::1%eth0')"),
    (ipaddress.ip_network("10.0.0.0/8"), "IPv4Network('10.0.0.0/8')"),
    (memoryview(b"ab"), "memoryview(b'ab')"),
    (memoryview((ctypes.c_char * 0 * 3)()), "memoryview(b'')"),
    (released(), "<released memory>"),
    (Moment(2026, 1, 2, 3), "Moment(year=2026, month=1, day=2, hour=3)"),
    (Span(days=2, seconds=5), "Span(days=2, seconds=5)"),
    (Documents("abc", [("a", 1), ("b", 2)]), "<Documents: 2 documents: 'a', 'b'>"),
    (Documents("abc", [("a", 3)]), "<Documents: 1 document: 'a'>"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), TEXTS, ids=[text[:30] for _, text in TEXTS])
def test_any_other_value_has_a_text_like_its_repr(value: Any, text: str) -> None:
    """Ours: made of what the value holds."""
    seen = view(value, 0, WIDE)
    assert (seen.json, seen.payload.decode(), seen.total_chars) == (False, text, len(text))


ANSWERS: list[tuple[Any, str]] = [
    (dt.date(2026, 11, 22), "2026-11-22"),
    (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02 03:00:00+00:00"),
    (dt.time(1, tzinfo=UTC2), "01:00:00+02:00"),
    (dt.timedelta(1, 5), "1 day, 0:00:05"),
    (decimal.Decimal("1.50"), "1.50"),
    (fractions.Fraction(1, 3), "1/3"),
    (fractions.Fraction(4, 2), "2"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (ipaddress.ip_network("fe80::/10"), "fe80::/10"),
    (1 + 2j, "(1+2j)"),
    ([dt.date(2026, 11, 22)], "[datetime.date(2026, 11, 22)]"),
]


@pytest.mark.parametrize(("value", "text"), ANSWERS, ids=[text for _, text in ANSWERS])
def test_as_an_answer_a_value_alone_is_what_str_says_of_it(value: Any, text: str) -> None:
    """`Decimal('1.50')` was the final answer, for good."""
    seen = view(value, 0, WIDE, as_text=True)
    assert (seen.json, seen.own, seen.payload.decode()) == (False, True, text)


class OwnZone(dt.tzinfo):
    utcoffset = tzname = dst = ran


def test_as_an_answer_too_no_code_of_a_value_is_run() -> None:
    """Nor that of a time zone, of a subclass, or of what somebody has put into a slot."""
    zoned = dt.datetime(2026, 1, 2, tzinfo=OwnZone())
    forged = fractions.Fraction(1, 3)
    forged._numerator = hostile(int, 1)  # type: ignore[attr-defined]
    path = pathlib.PurePosixPath("a")
    path._str = hostile(str, "b")  # type: ignore[attr-defined]
    address = ipaddress.IPv4Address(1)
    address._ip = hostile(int, 1)  # type: ignore[attr-defined]
    texts = [view(value, 0, WIDE, as_text=True).payload.decode() for value in (zoned, forged, path, address)]
    assert texts == [
        "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=<OwnZone object>)",
        "Fraction(Hostile(1), 3)",
        "a",
        "?",
    ]
    assert not view(Moment(2026, 1, 2), 0, WIDE, as_text=True).own


@pytest.mark.parametrize("value", [endless(), map(str, [1]), iter([1]), parameters, len, re, [].append, object()])
def test_what_has_no_value_is_no_answer(value: Any) -> None:
    """`<generator endless>` was the final answer, for good."""
    assert not view(value, 0, WIDE, as_text=True).own
    assert view({"f": parameters, 1: int}, 0, WIDE, as_text=True).own


class Counted:
    """As a library's: what it keeps to itself is nobody's."""

    def __init__(self) -> None:
        self.total, self._cache = 1, [2]


def test_of_a_librarys_object_its_public_fields_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DataFrame was 4,000 characters of `_mgr=BlockManager(...`; of a session's own class nothing is left out."""
    assert shown(Counted()) == "Counted(total=1)"
    monkeypatch.setattr(Counted, "__module__", "__main__")
    assert shown(Counted()) == "Counted(total=1, _cache=[2])"


def test_what_calls_itself_numpys_is_not_believed() -> None:
    """Only what C code has defined is asked for its number."""
    methods = {"item": ran, "tolist": ran, "__str__": ran, "shape": property(ran), "__module__": "numpy"}
    for name in ("int64", "bool", "ndarray", "datetime64"):
        value = type(name, (), methods)()
        assert (shown(value), describe(value)) == (f"<{name} object>", (name, None))


def test_a_container_within_itself_is_shown_once() -> None:
    """Ours: cycles end."""
    items: list[Any] = [1]
    items.append(items)
    held: dict[str, Any] = {"items": items}
    held["self"] = held
    point = Plain(1)
    point.x = point  # type: ignore[assignment]
    assert shown(items) == "[1, [...]]"
    assert shown(held) == "{'items': [1, [...]], 'self': {...}}"
    assert shown(point) == "Plain(x=Plain(...), tags=[])"


def test_a_value_nested_too_deep_is_shown_to_a_depth() -> None:
    """Ours: 100,000 lists in one another neither raise nor take the control thread's stack."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "[" * 51 + "..." + "]" * 51


GIANTS: dict[str, tuple[Callable[[], Any], str]] = {
    "list": (lambda: list(range(3_000_000)), " more items]"),
    "dict": (lambda: {str(number): number for number in range(300_000)}, " more items}"),
    "set": (lambda: set(range(300_000)), " more items}"),
    "objects": (lambda: [Plain(1) for _ in range(100_000)], " more items]"),
    "long texts": (lambda: ["x" * 1_000_000] * 5, " more items]"),
    "bytes": (lambda: bytes(3_000_000), " more bytes"),
    "integer": (lambda: 1 << 10_000_000, " more hexadecimal digits"),
}


@pytest.mark.parametrize("kind", one_of_each({kind: kind for kind in GIANTS}, GIANTS.keys() - {"set", "objects"}))
def test_a_giant_is_shown_to_a_bound_and_the_rest_is_counted(kind: str) -> None:
    """Ours: at most about two million characters are made of one value."""
    make, end = GIANTS[kind]
    value = make()
    seen = view(value, 0, 100)
    last = view(value, seen.total_chars - 60, 60).payload.decode()
    assert seen.total_chars <= 4 * WORK_CHARS + 1_000
    assert last.endswith(end)
    assert not seen.json


def test_the_count_of_what_is_left_out_is_exact() -> None:
    """Ours: shown and counted items add up."""
    text = shown_all(list(range(1_000_000)))
    whole, _, left = text.rpartition(", … ")
    assert whole.count(",") + 1 + int(left.removesuffix(" more items]")) == 1_000_000


def shown_all(value: Any) -> str:
    return view(value, 0, 2 * WORK_CHARS).payload.decode()


@pytest.mark.parametrize(
    "value",
    [["é" * 50, 1.5, None] * 40, "é\n" * 500, {number: [number] for number in range(200)}, 10**5_000],
    ids=["list", "str", "dict", "int"],
)
def test_slices_joined_are_the_whole_text(value: Any) -> None:
    """Contract: `offset` and `next_offset` page through the text."""
    total = view(value, 0, 0).total_chars
    pages = [view(value, offset, 97).payload.decode() for offset in range(0, total, 97)]
    whole = view(value, 0, total - 1).payload.decode() + pages[-1][-1]
    assert "".join(pages) == whole
    assert len(whole) == total


def test_a_large_json_value_is_paged_as_its_json_text() -> None:
    """Contract: what does not fit in `limit` comes as a slice of text."""
    value = [{"name": "é", "sizes": [1, 2]}] * 100
    text = json.dumps(value, ensure_ascii=False)
    assert view(value, 0, 50) == View("list", 100, False, len(text), text[:50].encode())
    assert view(value, 50, 50).payload == text[50:100].encode()
    assert view(value, 0, len(text)).json


def test_a_text_is_sliced_as_it_is() -> None:
    """Ours: of a str no quotes and no escapes are paged."""
    text = "a'\n\ud800é" * 100
    assert view(text, 1, 4).payload.decode("utf-8", "surrogatepass") == "'\n\ud800é"
    assert json.loads(view("\ud800", 0, 10).payload) == "\ud800"


def test_past_the_end_there_is_nothing() -> None:
    """Ours: an offset past the end is an empty slice that still tells the length."""
    assert view([1, 2], 99, 10) == View("list", 2, False, 6, b"")


def test_an_integer_of_any_length_has_a_text() -> None:
    """Source: CPython refuses `str` of more than 4,300 digits."""
    assert int(shown(10**5_000), 16) == 10**5_000
    assert int(shown(-(10**5_000)), 16) == -(10**5_000)
    assert int(shown(10**3_000)) == 10**3_000


def test_ranges_have_their_length() -> None:
    """Ours: also where `len` would overflow."""
    for value in (range(0), range(5), range(5, 0, -2), range(-3), range(1, 10, 3)):
        assert describe(value) == ("range", len(value))
    assert describe(range(10**30)) == ("range", 10**30)


def test_a_container_that_the_step_is_changing_can_be_shown() -> None:
    """Ours: the running step and the control thread share one namespace."""
    held: dict[int, int] = {}
    queue: collections.deque[int] = collections.deque()
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            held[number] = number
            queue.append(number)
            if number % 5_000 == 0:
                held.clear()
                queue.clear()

    worker = threading.Thread(target=change)
    worker.start()
    try:
        for _ in range(20):
            assert shown(held).startswith("{")
            assert shown(queue).startswith("deque([")
            describe(held)
    finally:
        stop.set()
        worker.join()


def test_the_names_of_a_namespace_are_listed_without_the_shells_own() -> None:
    """Ours: a hidden name that the step has bound again is the step's."""
    start = ran
    namespace = {
        "In": [],
        "_": 1,
        "_i3": "",
        "__name__": "x",
        "tool": start,
        "mine": start,
        5: 1,
        "words": ["a"],
        "n": 2,
    }
    assert list_names(namespace, {"tool": start, "mine": 0}) == [
        ("mine", "function", None),
        ("words", "list", 1),
        ("n", "int", None),
    ]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSONS)
@settings(deadline=None)
def test_every_json_value_comes_back_equal(value: Any) -> None:
    """Ours: without loss means without any."""
    seen = view(value, 0, WIDE)
    assert seen.json
    assert json.loads(seen.payload) == value
    assert seen.total_chars == (len(value) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False)))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text() | st.binary(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(PLAIN)
@settings(deadline=None)
def test_the_text_of_plain_values_is_their_repr(value: Any) -> None:
    """Ours: where a value is neither JSON nor text."""
    seen = view(value, 0, WIDE)
    if not seen.json and not isinstance(value, str):
        assert seen.payload.decode() == repr(value)


@pytest.mark.parametrize("parts", [["/" * 10**6] * 10**6, ["a/" * 30_000_000], ["a"] * 10**7])
def test_a_path_of_parts_that_its_session_put_there_costs_no_more_than_a_path(parts: list[str]) -> None:
    """In the control thread, which answers every other read: by processor time, a tenth of a second at most."""
    path = pathlib.PurePosixPath("a")
    slots = vars(pathlib.PurePath)
    slots["_parts" if "_parts" in slots else "_raw_paths"].__set__(path, parts)
    with contextlib.suppress(AttributeError):
        slots["_str"].__delete__(path)
    began = time.thread_time()
    seen = view(path, 0, WIDE, as_text=True)
    assert len(seen.payload) < 300_000
    assert (seen.payload.decode()[-2:], seen.whole) == ("…)", False)
    assert time.thread_time() - began < 0.5
