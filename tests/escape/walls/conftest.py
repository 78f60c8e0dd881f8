"""Which of these tests are slow: where root runs them, each tier has its fast ones with one user alone.

A wall is the same for either user but for what root may do beyond it, and a user may not: the namespaces are tried as
the user that a person is, the locks as root. The other two kinds run with the slow tests, which CI always runs.
"""

from __future__ import annotations

import pytest

from tests.escape.walls.cages import Kind

SLOW = {("ns", "root"), ("lock", "nobody")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest leaves out what is not asked for by its mark."""
    for item in items:
        call = getattr(item, "callspec", None)
        kinds = [value for value in call.params.values() if isinstance(value, Kind)] if call else []
        if any((kind.tier, kind.user) in SLOW for kind in kinds):
            item.add_marker(pytest.mark.slow)
