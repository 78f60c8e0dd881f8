"""The demo's second computation reads Python by its tokens, without its parser."""

from __future__ import annotations

from demo.independent import Answers, Document, answer, citations, read, report

IMPORTS = '''
"""import nothing"""
import os, sys as system; import json.decoder
from . import relative
from .sibling import name
from collections import (
    abc,
)
if True: import re
try: from xml.dom import minidom
except ImportError: pass
def lazy():
    yield from iterable
    import zlib
# import comment
text = f"import {text}"
'''
CALLS = """
loop.utcnow()
a.b . utcnow (1)
(x
    .utcnow())
utcnow()
x.utcnow
"x.utcnow()"
f"{x.utcnow()}"
@x.utcnow()
def f(): pass
"""
FUNCTIONS = '''
def one_line(): pass
async def outer(
    a,
):
    def inner():
        return """
text
"""
    # a comment inside

# a comment outside
class C:
    @staticmethod
    def method(): return 1
    def last(self):
        if self:
            pass
'''


def test_imports_are_the_distinct_first_parts_of_absolute_modules() -> None:
    """In every place where the statement may stand, and nowhere else."""
    assert read(IMPORTS, "x").imports == {"os", "sys", "json", "collections", "re", "xml", "zlib"}


def test_a_call_is_found_at_the_line_of_its_name() -> None:
    """Not a bare name, not an attribute alone, not in a text, not in an f-string."""
    assert read(CALLS, "utcnow").calls == [2, 3, 5, 10]


def test_a_function_reaches_from_its_def_to_its_last_statement() -> None:
    """Inner functions count for themselves; comments after the last statement do not."""
    assert sorted(read(FUNCTIONS, "x").functions) == [
        (1, 2, "one_line"),
        (1, 15, "method"),
        (3, 16, "last"),
        (4, 6, "inner"),
        (7, 3, "outer"),
    ]


def test_a_document_without_a_last_newline_is_read_to_its_end() -> None:
    """The tokenizer closes the line."""
    assert read("def f():\n    import os", "x") == Document({"os"}, [], [(2, 1, "f")])


def test_the_answers_are_ranked_with_ties_by_name() -> None:
    """Ten importers at most, every call, one longest function."""
    texts = {f"m{number:02}.py": "import a\n" for number in range(12)}
    texts["long.py"] = "import a, b\ndef f():\n    x.now()\n    y.now()\n"
    answers = answer(texts, "now")
    assert answers["importers"] == [["long.py", 2], *([f"m{number:02}.py", 1] for number in range(9))]
    assert answers["calls"] == [["long.py", 3], ["long.py", 4]]
    assert answers["longest"] == [["f", "long.py", 2, 3]]
    assert report(answers, "now").splitlines()[-3:] == [
        "  long.py:3 [c1]",
        "  long.py:4 [c2]",
        "Longest function: f at long.py:2, 3 lines [c3]",
    ]


def test_the_lines_that_must_be_cited_are_those_of_the_answers() -> None:
    """As `grep -n` counts them, however a line ends; the quote is the first place of its text."""
    texts = {"a.py": "x = 1\r\ndef f():\r\n    g()\r\n", "b.py": "x\x0cy.now()"}
    answers: Answers = {"importers": [], "calls": [["b.py", 1]], "longest": [["f", "a.py", 2, 2]]}
    assert citations(answers, texts) == [
        ("verified", "b.py", 1, "x\x0cy.now()"),
        ("verified", "a.py", 2, "def f():\r\n    g()\r\n"),
        ("verified", "a.py", 2, "def f():\r\n    g()"),
    ]
