"""How much of a machine's memory is a node's."""

from __future__ import annotations

from rlm_kernel_mcp.cluster.node.fullness import Memory


def test_a_node_that_has_the_machine_has_what_is_free_there() -> None:
    assert Memory(8_000, 5_000).within(0, 4_096) == Memory(8_000, 5_000)


def test_of_a_part_what_its_kernels_may_take_is_not_free() -> None:
    assert Memory(8_000, 5_000).within(2_048, 1_024) == Memory(2_048, 1_024)
    assert Memory(8_000, 5_000).within(2_048, 4_096) == Memory(2_048, 0)


def test_no_more_is_free_than_on_the_machine() -> None:
    assert Memory(8_000, 100).within(2_048, 0) == Memory(2_048, 100)
    assert Memory(8_000, 5_000).within(16_000, 0) == Memory(8_000, 5_000)
