"""A .gitignore means here what it means to git: held against `git check-ignore` on random trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.context.patterns.ignore_rules import (
    RULE_BYTES_LIMIT,
    RULE_LIMIT,
    TEXT_BYTES_LIMIT,
    Rules,
    TooManyRulesError,
    git_rule,
    git_rules,
)
from tests.unit.context.patterns.ignored_trees import difference, repository_in


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trees are planted, one after the other."""
    return repository_in(tmp_path_factory.mktemp("repository"))


@pytest.mark.slow
@given(seed=st.integers(0, 2**64))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_directory_has_the_files_that_git_does_not_ignore(repository: Path, seed: int) -> None:
    """Nested files, negation, anchors, `**`, directories alone, escapes, brackets, blanks, case, odd names."""
    assert difference(repository, seed) is None


def verdict(text: str, path: str, *, is_directory: bool = False) -> bool | None:
    return git_rules(text.encode()).verdict(path.encode(), is_directory=is_directory)


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("*.log", "a/b.log", True),
        ("*.log", "a/b.LOG", None),
        ("*.log\n!keep.log", "keep.log", False),
        ("/a.txt", "b/a.txt", None),
        ("b/a.txt", "b/a.txt", True),
        ("b/a.txt", "c/b/a.txt", None),
        ("**/b/a.txt", "c/d/b/a.txt", True),
        ("c/**/a.txt", "c/a.txt", True),
        ("c/**/a.txt", "c/d/e/a.txt", True),
        ("c/**", "c", None),
        ("build/", "build", None),
        ("\\#a", "#a", True),
        ("#a", "#a", None),
        ("a\\ ", "a ", True),
        ("a  ", "a", True),
        ("a\r\nb\r\n", "a", True),
        ("\ufeffa", "a", True),
        ("?", "ä", None),
        ("??", "ä", True),
        ("a[", "a[", None),
    ],
)
def test_a_rule_speaks_of_a_path(text: str, path: str, expected: bool | None) -> None:
    """None: some file further up may."""
    assert verdict(text, path) is expected


def test_a_rule_that_ends_in_a_slash_is_about_directories() -> None:
    """A file of that name stays."""
    assert verdict("build/", "build", is_directory=True) is True
    assert verdict("/src/build/", "src/build", is_directory=True) is True


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("*a" * 2_000 + "b", "a" * 255),
        ("**/" + "*a*/**/" * 200 + "b", "a/" * 2_000 + "a"),
        ("[a-z]*" * 600 + "Z", "a" * 255),
        ("?*" * 1_000 + "Z", "a" * 255),
    ],
)
def test_no_rule_takes_for_ever(rule: str, path: str) -> None:
    """A matcher that goes back over what it matched would never come to an end; this test returns."""
    assert verdict(rule, path) is None


def test_rules_beyond_the_bounds_are_refused_or_match_nothing() -> None:
    """The text comes with what is loaded, and is not worth any amount of memory."""
    with pytest.raises(TooManyRulesError, match=r"5,000 rules"):
        git_rules(b"a\n" * (RULE_LIMIT + 1))
    with pytest.raises(TooManyRulesError, match=r"262,144 bytes"):
        git_rules(b"#" * (TEXT_BYTES_LIMIT + 1))
    assert not git_rules(b"a" * (RULE_BYTES_LIMIT + 1))
    assert not Rules(())


@pytest.mark.parametrize("bracket", [b"[!a]", b"[^a-c]", b"[ac]", b"[!/]", b"[[:alnum:]]", b"[!\x01-\xff]"])
def test_a_bracket_is_about_as_long_for_the_interpreter_as_it_was_written(bracket: bytes) -> None:
    """Each `[!a]` was a list of 254 bytes: a file of 256 KB took 35 s, and 512 such rules stayed in memory for good."""
    rule = git_rule(bracket * 300 + b"x")
    assert rule is not None
    matches = rule.matches
    assert len(matches.__self__.pattern) <= 6 * 300 * len(bracket)  # type: ignore[attr-defined]
    one = git_rule(bracket)
    assert one is not None
    is_negated, members = bracket[1:2] in b"!^", bracket.strip(b"[]!^")
    first, last = members[:1], members[-1:]
    spelled = set(range(first[0], last[0] + 1)) if b"-" in members else set(members)
    if b"alnum" in bracket:
        spelled = {byte for byte in range(128) if chr(byte).isalnum()}
    expected = {byte for byte in range(256) if (byte in spelled) != is_negated} - {ord("/")}
    assert {byte for byte in range(256) if one.matches(bytes([byte]))} == expected
