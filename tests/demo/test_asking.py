"""The demo's code asks, a script answers, and what became of the answers is checked by another method."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from demo import asking

SOURCES = (
    '"""One line."""\nx = 1\n',
    "#!/usr/bin/env python3\n# a comment\n\n'''Two lines,\n    the second one further in.'''\n",
    '"one " "text"\n',
    'r"""Raw \\d."""; import os\n',
    'b"bytes are none"\n',
    "import os\n",
    "x = 'none either'\n",
    "",
    "'none' % 1\n",
)


@pytest.mark.parametrize("source", SOURCES, ids=range(len(SOURCES)))
def test_a_docstring_is_found_by_tokens_as_the_parser_finds_it(source: str) -> None:
    assert asking.docstring(source) == (ast.get_docstring(ast.parse(source)) or "")


def test_an_answer_that_the_check_has_not_is_named_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session that says otherwise, in the place of a real one."""
    (tmp_path / "mail.py").write_text('"""Talks to a server."""\n')

    async def session(library: Path) -> tuple[dict[str, str], dict[str, str]]:
        del library
        return {"mail.py": "yes"}, {"mail.py": "no"}

    monkeypatch.setattr(asking, "run_session", session)
    assert asking.main(tmp_path) == 1
    told = capsys.readouterr()
    assert "A SCRIPT ANSWERS" in told.out
    assert "MISMATCH in the answers: the session and the check differ in ['mail.py']" in told.err
