"""A tenth of `bin/soak evidence`: what is invented, there, misspelled, and a source that changes meanwhile."""

from __future__ import annotations

import pytest

from tests.unit.session.evidence import in_quantity

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", in_quantity.PARTS)
def test_nothing_is_wrong_in_a_tenth_of_the_soak(part: str) -> None:
    assert in_quantity.main([part, "--count", str(in_quantity.COUNT // 10), "--seed", "7"]) == 0
