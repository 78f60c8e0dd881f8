"""Real directories are loaded as `find`, `cat`, `iconv` and `wc` see them; in short (long: `bin/soak sources`)."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.unit.context.real_directories import problems_of

LIBRARY = Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("directory", [LIBRARY / "encodings", LIBRARY / "json", LIBRARY / "test/test_email"], ids=str)
def test_a_directory_of_the_machine_is_loaded_as_other_programs_see_it(directory: Path) -> None:
    """Which files, in one hash, what is binary, each one's encoding, its bytes back, the characters in all."""
    if not directory.is_dir():
        pytest.skip("this Python has no such part")
    problems, numbers = problems_of(directory)
    assert problems == []
    assert numbers["documents"] > 0


def test_what_a_machine_may_have_is_all_compared(tmp_path: Path) -> None:
    """Latin-1, bad bytes, marks, UTF-16, links, vendored, ignored: and the comparison would see a difference."""
    files = {
        "latin.txt": "Müller\n".encode("latin-1") * 50,
        "mixed.txt": "Müller\n".encode() * 500 + b"\xfc",
        "mark.txt": b"\xef\xbb\xbfx",
        "wide.txt": "wide".encode("utf-16"),
        "binary": b"\0\1",
        "node_modules/x.js": b"x",
        "env/pyvenv.cfg": b"",
        "code/vendor/a.go": b"x",
        "code/go.mod": b"x",
        "sub/.gitignore": b"*.log\n",
        "sub/a.log": b"x",
        ".hidden": b"x",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link").symlink_to(".hidden")
    problems, numbers = problems_of(tmp_path)
    assert problems == []
    assert (numbers["files"], numbers["documents"], numbers["binary"], numbers["not_utf8"]) == (7, 6, 1, 1)
    assert numbers["undecodable_bytes"] == 1
