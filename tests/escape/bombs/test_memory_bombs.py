"""However memory is taken, the step ends in a clean error and its kernel lives on.

At the smallest limit that there is, where a bomb is through before the watch outside has looked twice.
"""

from __future__ import annotations

import pytest

from tests.escape.bombs.machine import GROWTH_BYTES_MAX, Machine
from tests.escape.bombs.memory_kinds import ANY, SHIPPED

IN_EITHER_TIER = ("a list that doubles", "many small objects", "a product of iterators", "caught and taken again")
"""What limits memory is the same in both tiers: of what the shipped policy gives, these are tried in the other too."""
KINDS = {
    *("a list that doubles", "a list of bytearrays", "one allocation past any limit", "many small objects"),
    *("a product of iterators", "several threads at once", "caught and taken again"),
}
"""One of each way in which an interpreter takes memory; the others are slow."""
CASES = [
    *(
        pytest.param("ns-allowlist", code, id=f"ns-allowlist-{name}", marks=[pytest.mark.slow] * (name not in KINDS))
        for name, code in SHIPPED.items()
    ),
    *(
        pytest.param("lock-any", SHIPPED[name], id=f"lock-any-{name}", marks=pytest.mark.slow)
        for name in IN_EITHER_TIER
    ),
    *(
        pytest.param(where, code, id=f"{where}-{name}", marks=marks)
        for where, marks in (("ns-any", []), ("lock-any", [pytest.mark.slow]))
        for name, code in ANY.items()
    ),
]


@pytest.mark.parametrize(("machine", "code"), CASES, indirect=["machine"])
def test_a_memory_bomb_ends_in_a_clean_error_with_its_kernel_alive(machine: Machine, session: str, code: str) -> None:
    """MemoryError, or what mmap(2) has for it; the value bound before is there, nothing was lost, the host is small."""
    before = machine.host_bytes(session)
    report = machine.client.run(session, code, max_output_chars=2000)
    assert (report["status"], report["lost"]) == ("error", None), report
    name, text = report["error"]["ename"], report["error"]["evalue"]
    assert name == "MemoryError" or (name, text) == ("OSError", "[Errno 12] Cannot allocate memory"), report
    machine.still_has_its_value(session)
    assert machine.host_bytes(session) - before < GROWTH_BYTES_MAX
