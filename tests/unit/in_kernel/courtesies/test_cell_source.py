"""Cells that are not Python as they stand: what is taken off their lines, and that no literal is touched."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.in_kernel.courtesies.cell_source import begins_with_prompt, without_indent, without_prompts


def prepared(cell: str) -> str:
    """The cell as the transforms leave it."""
    return "".join(without_prompts(without_indent(cell.splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("cell", "left"),
    [
        (">>> x = 1\n>>> x\n", "x = 1\nx\n"),
        (">>> if x:\n...     y\n...\n", "if x:\n    y\n\n"),
        ("   >>> x = 1\n   >>> x\n", "x = 1\nx\n"),
        ("In [1]: x = 1\n\nIn [2]: x\n", "x = 1\n\nx\n"),
        ("[ins] In [1]: x\n          ...: y\n", "x\ny\n"),
        (" In [1]: x = 1\n   ...: x\n", "x = 1\nx\n"),
        ('In [1]: t = """\n   ...: In [2]: x\n   ...: """\n', 't = """\nIn [2]: x\n"""\n'),
        ('>>> t = """\n... >>> x\n... """\n>>> t\n', 't = """\n>>> x\n"""\nt\n'),
        ('>>> t = """\n>>> x\n... y\n"""\n>>> t\n', 't = """\n>>> x\n... y\n"""\nt\n'),
        ("  x = 1\n  y = 2\n", "x = 1\ny = 2\n"),
        ("  x = 1\n# a note\n  y = 2\n", "x = 1\n# a note\ny = 2\n"),
        ("  if x:\n\n    y\n", "if x:\n\n  y\n"),
        ('  t = """\n a\n     \n"""\n  t\n', 't = """\n a\n     \n"""\nt\n'),
        ("  t = 'a\\\n b'\n  t\n", "t = 'a\\\n b'\nt\n"),
        ("  %time f('''\n  x = 1\n", "%time f('''\nx = 1\n"),
        ("  t = \"it's\" # \"\"\"\n  x\n", "t = \"it's\" # \"\"\"\nx\n"),
    ],
)  # fmt: skip
def test_prompts_and_indentation_are_taken_off_code_alone(cell: str, left: str) -> None:
    """Within a literal only what surely is a prompt: each of its lines has one."""
    assert prepared(cell) == left


@pytest.mark.parametrize(
    "cell",
    [
        't = """\nIn [1]: x\n"""\n%time t\n',
        '"""\n>>> x\n"""\n%time 1\n',
        't = r\'\'\'\n   ...: x \\\'\'\'\n>>> y\n\'\'\'\n!ls\n',
        "x = 1\n>>> y\n",
        "...\n",
        "In[1]\n",
    ],
)  # fmt: skip
def test_a_cell_that_does_not_begin_with_a_prompt_keeps_every_line(cell: str) -> None:
    """Source: `PromptStripper` takes prompts off all lines where the second one has one."""
    assert not begins_with_prompt(cell)
    assert prepared(cell) == cell
