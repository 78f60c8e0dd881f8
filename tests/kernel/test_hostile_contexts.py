"""The parts of `bin/soak hostile`, a tenth of each: what hostile files do to contexts ends well."""

from __future__ import annotations

import pytest

from tests.soaks.hostile import sources


@pytest.mark.slow
@pytest.mark.parametrize("part", sources.PARTS)
def test_hostile_files_end_well(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is refused, told or loaded as what it is, and nothing is left over."""
    status = sources.main([part, "--scale", "0.1"])
    assert status == 0, capsys.readouterr().out
