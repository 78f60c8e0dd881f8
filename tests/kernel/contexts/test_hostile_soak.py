"""The parts of `bin/soak sources_hostile`, a tenth of each: what hostile files do to contexts ends well."""

from __future__ import annotations

import pytest

from tests.soaks import sources_hostile


@pytest.mark.slow
@pytest.mark.parametrize("part", sources_hostile.PARTS)
def test_hostile_files_end_well(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is refused, told or loaded as what it is, and nothing is left over."""
    status = sources_hostile.main([part, "--scale", "0.1"])
    assert status == 0, capsys.readouterr().out
