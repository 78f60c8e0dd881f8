"""Objects whose own code hangs, lies, raises or allocates: listed, read, kept and shown in bounded time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.escape.kernels.kernel_server import POLICY, KernelServer
from tests.mcp.line_client import data_of

HOLDS_ON: Final = "hangs and holds on"
BEHAVIOURS: Final = {
    "hangs": "while True: pass",
    # A loop without a call has an end in CPython 3.11: there an exception's handler does not cover its jump.
    HOLDS_ON: "while True:\n        try:\n            while 1: id(0)\n        except BaseException: id(0)",
    "raises no Exception": "raise BaseException('no')",
    "leaves": "raise SystemExit",
    "interrupts": "raise KeyboardInterrupt",
    "stops iterations": "raise StopIteration",
    "lies by type": "return object()",
    "lies by size": "return 1 << 70",
    "says too much": "return 'x' * 10_000_000",
    "allocates without end": "held = []\n    while True: held.append(bytes(1_000_000))",
    "calls itself": "return own_code(*given, **named)",
}
EACH: Final = pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(own, id=name, marks=[pytest.mark.slow] if name == HOLDS_ON else [])
        for name, own in BEHAVIOURS.items()
    ],
)
"""What holds on does so for the whole time that it is asked to let go, which is 5 s."""
MAKE: Final = """
def own_code(*given, **named):
    @BEHAVIOUR@
METHODS = [f"__{name}__" for name in (
    "repr str len eq ne lt le gt ge hash iter next contains getitem reduce reduce_ex getstate getattr getattribute "
    "sizeof dir bool format int index float bytes length_hint missing call enter exit copy deepcopy instancecheck "
    "subclasscheck subclasshook fspath complex round"
).split()]
own = {name: own_code for name in METHODS}
mine = {"__class__": property(own_code), **own}
"""
BIND: Final = """
meta = type("Meta", (type,), {name: own_code for name in METHODS if name not in ("__getattribute__", "__call__")})
objects = {"an_object": type("Bad", (), mine)(), "a_type": type.__new__(meta, "Worse", (), {})}
objects["of_the_type"] = object.__new__(objects["a_type"])
for base in (list, dict, str, int, tuple, set, Exception):
    cls = type("Bad" + base.__name__, (base,), mine)
    objects["a_" + base.__name__] = base.__new__(cls)
objects["in_a_list"] = [objects["an_object"]]
objects["in_a_dict"] = {"key": objects["a_list"], "other": [objects["of_the_type"]]}
objects["with_it"] = type("Holder", (), {})()
vars(objects["with_it"])["attribute"] = objects["an_object"]
globals().update(objects)
names = list(objects)
del objects
"""


@pytest.fixture(scope="module", params=[pytest.param("allowlist", marks=pytest.mark.slow), "any"])
def each_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """Whose kernels have little memory, and keep their values: what an object does then is half of the matter."""
    policy: dict[str, Any] = {**POLICY, "limits": {"memory_mb": 150}, "snapshots": {"step_ms": 300}}
    made = KernelServer(tmp_path_factory.mktemp(request.param), request.param, policy)
    try:
        yield made
    finally:
        made.close()


@EACH
def test_objects_are_listed_read_and_kept_in_bounds(each_server: KernelServer, behaviour: str) -> None:
    """None of their code runs to list or read them; what runs to keep them is bounded, and the next step begins."""
    session, call = each_server.open(), each_server.client.call
    with each_server.bounded_memory():
        data = each_server.run(session, MAKE.replace("@BEHAVIOUR@", behaviour) + BIND)
        assert (data["status"], data["lost"]) == ("ok", None), data
        listed = {row["name"]: row["type"] for row in data["updated_vars_summary"]}
        assert {"an_object", "a_type", "a_list", "in_a_dict"} <= set(listed)
        for name in ("an_object", "a_type", "of_the_type", "a_dict", "a_str", "in_a_list", "in_a_dict", "with_it"):
            read = call("rlm_get_var", session_id=session, var_name=name)
            assert data_of(read)["type"] == listed[name]
        each_server.check_neighbour()
        data = each_server.run(session, "6 * 7")
        assert (data["status"], data["result"]) == ("ok", "42"), data
        assert data["lost"] is None or "own code" in data["lost"]["reason"]
    each_server.give_up(session)


@EACH
def test_an_object_that_is_shown_runs_its_own_code_within_its_step(each_server: KernelServer, behaviour: str) -> None:
    """Its step's time and memory, and the neighbour's are its own."""
    session = each_server.open()
    make = MAKE.replace("@BEHAVIOUR@", behaviour) + "bad = type('Bad', (), own)()\n"
    with each_server.bounded_memory():
        data = each_server.run(session, make + "[bad, {'a': bad}]", timeout_ms=400)
        assert data["status"] in ("ok", "error", "timeout", "kernel_died"), data
        data = each_server.run(session, make + "print(f'{bad}', bad, bad == bad, len(bad), list(bad))", timeout_ms=400)
        assert data["status"] in ("error", "timeout", "kernel_died"), data
        assert each_server.client.run(session, "context")["result"] == "'some text'"
    each_server.give_up(session)


def test_an_object_is_no_answer_by_its_own_word(each_server: KernelServer) -> None:
    """A final answer is read like any variable, and what only its own code could say of it is not an answer."""
    session = each_server.open()
    each_server.run(session, MAKE.replace("@BEHAVIOUR@", "return 'its own word'") + BIND)
    error = each_server.client.error("rlm_finalize", session_id=session, final_var_name="an_object")
    assert error["code"] == "INVALID_INPUT"
    assert "an object (Bad)" in error["message"]
    assert each_server.run(session, "context")["result"] == "'some text'"
