"""An exact `str` over a mapped file: it is what an ordinary one is, on every Python that may make one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.context.by_loader import UTF8_AT
from rlm_kernel_mcp.in_kernel.namespace.mapped_text import TESTED
from tests.parts import ROOT, skip_for_lack_of

OPERATIONS: Final = Path(__file__).with_name("mapped_operations.py")
MINORS: Final = [f"{major}.{minor}" for major, minor in TESTED]
BEGIN: Final = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from rlm_kernel_mcp.in_kernel.namespace import mapped_text, mapped_utf8
from rlm_kernel_mcp.in_kernel.walls import window
file = os.open(sys.argv[1], os.O_RDWR)
def over(size, layout):
    try:
        return mapped_text.map_text(file, size, layout)
    except mapped_text.CannotMap as error:
        return f"CannotMap: {{error}}"
"""


def ended(python: str, *arguments: str, minor: str = "") -> subprocess.CompletedProcess[str]:
    """A program's end. `minor`: which Python is meant, where versions of it share one name."""
    variables = {**os.environ, **({"PYENV_VERSION": minor} if minor else {})}
    return subprocess.run(
        [python, "-I", "-B", *arguments], check=False, capture_output=True, text=True, timeout=300, env=variables
    )


def said(tmp_path: Path, code: str, holds: bytes = b"some text") -> str:
    """What a program printed that has a file open, and ended well."""
    path = tmp_path / "file"
    path.write_bytes(holds)
    program = ended(sys.executable, "-c", BEGIN + code, str(path))
    assert program.returncode == 0, program.stderr
    return program.stdout.strip()


def python_of(minor: str) -> str:
    """The name of a Python of a minor version."""
    for python in (sys.executable, f"python{minor}"):
        try:
            version = ended(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])", minor=minor)
        except FileNotFoundError:
            continue
        if version.stdout.strip() == minor:
            return python
    return skip_for_lack_of(f"Python {minor}", f"pyenv install {minor}")


@pytest.mark.parametrize("minor", MINORS)
def test_every_operation_gives_what_it_gives_on_an_ordinary_text(minor: str) -> None:
    """58 of them, in each form of characters, at sizes round the border of a page."""
    program = ended(python_of(minor), str(OPERATIONS), str(ROOT), minor=minor)
    assert program.returncode == 0, program.stderr
    assert int(program.stdout) == 58 * 13 * 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("mapped_text.TESTED = ((3, 10),)", r"tested on CPython 3\.10 as released, and this is cpython 3\."),
        ("sys.abiflags = 't'", r"tested on CPython 3\.11, 3\.12, 3\.13 as released"),
        ("mapped_text._LENGTH = 3", "laid out in a way that is not known"),
        (
            "import ctypes; place = ctypes.addressof; ctypes.addressof = lambda of: place(of) + 1",
            "a text over a mapped page is not what it should be",
        ),
    ],
    ids=["another version", "without an interpreter lock", "another layout", "other characters"],
)
def test_a_python_that_is_not_known_to_do_it_is_not_asked_to(tmp_path: Path, change: str, why: str) -> None:
    """The trial says so before any text is made, and every text is refused with the same words."""
    answer = said(tmp_path, f"{change}\nwindow.take(1, 64)\nprint(mapped_text.why_not())\nprint(over(9, 'ascii'))")
    reason, refused = answer.splitlines()
    assert re.search(why, reason)
    assert refused == f"CannotMap: {reason}"


@pytest.mark.parametrize(
    ("window_gb", "size", "layout", "why"),
    [
        (0, 9, "ascii", "9 bytes do not fit: 0 are left"),
        (1, 1 << 30, "ascii", "do not fit"),
        (1, 9, "ucs2", "9 bytes are no ucs2 text"),
        (1, 0, "ascii", "0 bytes are no ascii text"),
    ],
    ids=["no window", "no room", "half a character", "nothing"],
)
def test_what_cannot_be_mapped_is_refused_with_the_reason(
    tmp_path: Path, window_gb: int, size: int, layout: str, why: str
) -> None:
    """Who asked has the file still, and can decode it."""
    assert why in said(tmp_path, f"window.take({window_gb}, 64)\nprint(over({size}, {layout!r}))")


def test_the_text_is_the_file_and_no_copy_of_it(tmp_path: Path) -> None:
    """What is written into the file is in the text: nobody is promised that it stays as it was."""
    code = "window.take(1, 64)\ntext = over(9, 'ascii')\nos.pwrite(file, b'S', 0)\nprint(text, text.__sizeof__() > 9)"
    assert said(tmp_path, code) == "Some text True"


def test_the_utf_8_of_a_text_lies_behind_it_in_the_file_and_can_only_be_read(tmp_path: Path) -> None:
    """What is not that of the text, or has no room in the window, is as if it were not there."""
    text = "Gr\xfc\xdfe \u4e2d\udc80 " * 20
    utf8 = text.encode("utf-8", "surrogatepass")
    code = f"""
window.take(1, 64)
text = over({2 * len(text)}, 'ucs2')
raw = mapped_utf8.map_utf8(file, {UTF8_AT}, {len(utf8)}, text)
print(raw.readonly, bytes(raw) == text.encode('utf-8', 'surrogatepass'), text[-1:] == ' ')
print(mapped_utf8.map_utf8(file, {UTF8_AT}, {len(utf8)}, text[1:]), mapped_utf8.map_utf8(file, 0, 1 << 30, text))
"""
    holds = text.encode("utf-16-le", "surrogatepass").ljust(UTF8_AT, b"\0") + utf8
    assert said(tmp_path, code, holds) == "True True True\nNone None"


def test_utf_8_leaves_half_of_the_window_to_the_texts_that_come_later(tmp_path: Path) -> None:
    """What is mapped stays so: without it a search is slower, and a text would be refused."""
    text = "Gr\xfc\xdfe \u4e2d" * 20
    utf8 = text.encode()
    code = f"""
window.take(1, 64)
text = over({2 * len(text)}, 'ucs2')
print(mapped_utf8.map_utf8(file, {UTF8_AT}, {len(utf8)}, text) is not None)
window.map_file(file, (1 << 29) - (1 << 16))
print(mapped_utf8.map_utf8(file, {UTF8_AT}, {len(utf8)}, text) is not None)
window.map_file(file, 1 << 16)
print(mapped_utf8.map_utf8(file, {UTF8_AT}, {len(utf8)}, text), over({2 * len(text)}, 'ucs2') == text)
"""
    holds = text.encode("utf-16-le").ljust(UTF8_AT, b"\0") + utf8
    assert said(tmp_path, code, holds) == "True\nTrue\nNone True"


def test_a_file_that_is_cut_off_ends_the_process(tmp_path: Path) -> None:
    """By SIGBUS, which no code can catch: the host says why."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    code = "window.take(1, 64)\ntext = over(100_000, 'ascii')\nos.truncate(file, 10)\nprint(text[:10])\ntext.count('y')"
    program = ended(sys.executable, "-u", "-c", BEGIN + code, str(path))
    assert (program.returncode, program.stdout) == (-signal.SIGBUS, "x" * 10 + "\n")
