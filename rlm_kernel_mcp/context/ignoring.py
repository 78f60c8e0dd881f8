"""Which .gitignore files hold for a directory, and what a request's own `exclude` means.

Is: finding the files (the directory's own, those above it up to the repository or the root, below it one by one) and
asking them from the innermost outwards. Is not: what a rule matches (`ignore_rules.py`), nor the walk (`listing.py`).
Above: `listing.py`, `sources.py`. Below: `ignore_rules.py`, `paths.py`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from rlm_kernel_mcp.context.paths import cause, is_below, open_below, quoted
from rlm_kernel_mcp.context.patterns.ignore_rules import (
    RULE_BYTES_LIMIT,
    TEXT_BYTES_LIMIT,
    Rule,
    Rules,
    TooManyRulesError,
    git_rule,
    git_rules,
)
from rlm_kernel_mcp.errors import ContextDenied, InvalidInput

RULES_NAME: Final = ".gitignore"
REPOSITORY_NAME: Final = ".git"
EXCLUDE_LIMIT: Final = 1_000
"""Patterns of one request's `exclude`."""


@dataclass(frozen=True, slots=True)
class DirectoryRules:
    """The rules that hold in a directory, innermost first; beside each, its path below the directory of their file."""

    levels: tuple[tuple[Rules, bytes], ...] = ()

    def ignores(self, name: str, *, is_directory: bool) -> bool:
        """Whether an entry of the directory is left out."""
        if not self.levels:
            return False
        encoded = os.fsencode(name)
        for rules, directory in self.levels:
            verdict = rules.verdict(directory + encoded, is_directory=is_directory)
            if verdict is not None:
                return verdict
        return False

    def inside(self, name: str) -> DirectoryRules:
        """The rules in a directory of the directory, but for its own."""
        if not self.levels:
            return self
        part = os.fsencode(name) + b"/"
        return DirectoryRules(tuple((rules, directory + part) for rules, directory in self.levels))

    def with_own(self, rules: Rules) -> DirectoryRules:
        """The rules with those of the directory's own file."""
        return DirectoryRules(((rules, b""), *self.levels)) if rules else self


def rules_in(descriptor: int) -> Rules:
    """The rules of the opened directory's own .gitignore. As for git, a link is none.

    Raises:
        OSError: it cannot be read.
        TooManyRulesError: it is too large.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    try:
        file = os.open(RULES_NAME, flags, dir_fd=descriptor)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return Rules(())
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return Rules(())
        text = bytearray()
        while len(text) <= TEXT_BYTES_LIMIT and (block := os.read(file, TEXT_BYTES_LIMIT + 1)):
            text += block
    finally:
        os.close(file)
    return git_rules(bytes(text))


def rules_above(directory: str, roots: Sequence[str]) -> DirectoryRules:
    """The rules that the directories above a resolved one have for it, up to its repository's or to the allowed root.

    Where they leave the directory itself out, whoever names it means it all the same: then none of them holds.
    """
    if os.path.lexists(f"{directory}/{REPOSITORY_NAME}"):
        return DirectoryRules()
    above: list[str] = []
    for parent in map(str, PurePosixPath(directory).parents):
        if not is_below(parent, roots):
            break
        above.append(parent)
        if os.path.lexists(f"{parent.rstrip('/')}/{REPOSITORY_NAME}"):
            break
    rules = DirectoryRules()
    for parent, below in zip(reversed(above), [*reversed(above[:-1]), directory], strict=False):
        rules = rules.with_own(_rules_of(parent, roots))
        name = os.path.basename(below)  # noqa: PTH119 (strings, as everywhere here)
        rules = DirectoryRules() if rules.ignores(name, is_directory=True) else rules.inside(name)
    return rules


def _rules_of(directory: str, roots: Sequence[str]) -> Rules:
    try:
        descriptor = open_below(directory, directory, roots, directory=True)
        try:
            return rules_in(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ContextDenied, TooManyRulesError):  # nothing is known of what cannot be read
        return Rules(())


class Exclusions:
    """A request's `exclude`: patterns as in .gitignore, for whatever directories and patterns bring."""

    def __init__(self, patterns: Sequence[str], working_dir: str) -> None:
        """Take the patterns.

        Raises:
            InvalidInput: one of them can match nothing, or there are more than 1,000.
        """
        if len(patterns) > EXCLUDE_LIMIT:
            raise InvalidInput(f"exclude holds {len(patterns):,} patterns; the limit is {EXCLUDE_LIMIT:,} patterns.")
        self._working_dir = working_dir.rstrip("/") + "/"
        self._rules = Rules([rule for pattern in patterns for rule in self._rules_of(pattern)])

    def __bool__(self) -> bool:
        return bool(self._rules)

    def exclude(self, path: str, base: str, *, is_directory: bool) -> bool:
        """Whether they match an entry, at `path` below the given `base`.

        A pattern with a slash is tried from the given directory, from the working directory and from the root.
        """
        forms = [path[len(base.rstrip("/")) + 1 :], path[1:]]
        if path.startswith(self._working_dir):
            forms.append(path[len(self._working_dir) :])
        return any(self._rules.verdict(os.fsencode(form), is_directory=is_directory) for form in forms)

    def _rules_of(self, given: str) -> list[Rule]:
        if given.startswith("!"):
            raise InvalidInput(
                f"exclude holds {quoted(given)}; a pattern says what is left out and cannot begin with '!'.",
                "Write what is to be left out, or name in context_paths what is to be loaded.",
            )
        pattern = given
        if pattern.startswith("~"):
            pattern = os.path.expanduser(pattern)  # noqa: PTH111 (a pattern, and strings)
        while pattern.startswith("./"):
            pattern = pattern[2:].lstrip("/")
        if pattern.startswith("../"):
            end = "/" if pattern.endswith("/") else ""
            pattern = os.path.normpath(self._working_dir + pattern) + end
        wanted = [pattern]
        if (directory := _directory_of(pattern)) is not None:  # all that is in a directory: it is not even entered
            wanted.append(directory)
        try:
            rules = [rule for one in wanted if (rule := git_rule(os.fsencode(one)))]
        except UnicodeEncodeError as error:
            raise InvalidInput(f"exclude holds {quoted(given)}, with a lone surrogate, which no name has.") from error
        if not rules:
            raise InvalidInput(
                f"exclude holds {quoted(given)}, which can match nothing: it is empty, longer than "
                f"{RULE_BYTES_LIMIT:,} bytes, or has a '[' or a '\\' without its end."
            )
        return rules


def _directory_of(pattern: str) -> str | None:
    """`a/` of `a/**` and `a/**/*`, still from the same place; None of any other pattern."""
    for end in ("/**/*", "/**"):
        directory = pattern.removesuffix(end)
        if directory != pattern and directory.strip("/*"):
            return f"{directory}/" if "/" in directory else f"/{directory}/"
    return None


def why_no_rules(error: OSError | TooManyRulesError) -> str:
    """Why a .gitignore is not honoured, in a few words."""
    return f"its rules do not count: {cause(error) if isinstance(error, OSError) else error}"
