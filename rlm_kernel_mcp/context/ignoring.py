"""Which .gitignore files apply to a directory, and what a request's own `exclude` means.

Is: finding the files (the directory's own, those above it up to the repository or the root, those below it one by one)
and asking them from the innermost outwards. Is not: what a rule matches (`patterns/ignore_rules.py`), or the walk
(`listing.py`). Above: `listing.py`, `sources.py`. Below: `patterns/ignore_rules.py`, `roots/`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from rlm_kernel_mcp.context.patterns.globs import alternatives
from rlm_kernel_mcp.context.patterns.ignore_rules import (
    RULE_BYTES_LIMIT,
    TEXT_BYTES_LIMIT,
    Rule,
    Rules,
    TooManyRulesError,
    git_rule,
    git_rules,
)
from rlm_kernel_mcp.context.roots.identity import FileIdentity, identity_of
from rlm_kernel_mcp.context.roots.open_roots import Allowed
from rlm_kernel_mcp.context.roots.opening import open_below
from rlm_kernel_mcp.context.roots.path_errors import cause, quoted
from rlm_kernel_mcp.errors import ContextDenied, InvalidInput
from rlm_kernel_mcp.text.home_directory import with_home
from rlm_kernel_mcp.units import MB

RULES_NAME: Final = ".gitignore"
REPOSITORY_NAME: Final = ".git"
ALL_RULES_BYTES: Final = 8 * MB
"""Most bytes of all .gitignore files of one request; one of 256 KB can take two seconds to parse."""
EXCLUDE_LIMIT: Final = 1_000
"""Most patterns that one request's `exclude` may have."""


@dataclass(frozen=True, slots=True)
class DirectoryRules:
    """The rules that apply in a directory, innermost first, each with the directory's path relative to their file."""

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
        """The rules that apply in a subdirectory, without that subdirectory's own."""
        if not self.levels:
            return self
        part = os.fsencode(name) + b"/"
        return DirectoryRules(tuple((rules, directory + part) for rules, directory in self.levels))

    def with_own(self, rules: Rules) -> DirectoryRules:
        """These rules, and those of the directory's own file."""
        return DirectoryRules(((rules, b""), *self.levels)) if rules else self


class RuleFiles:
    """The .gitignore files of one request, each read once, with a limit on all of them: their number may be hostile."""

    def __init__(self, roots: Allowed) -> None:
        self._roots = roots
        self._known: dict[FileIdentity, Rules] = {}
        self._bytes = 0

    def own(self, descriptor: int) -> Rules:
        """The rules of an opened directory's own .gitignore. Like git, this ignores one that is a link.

        Raises:
            OSError: it cannot be read.
            TooManyRulesError: it is too large, or all of them together are.
        """
        # Relative to the directory's descriptor, and without following a link: as safe as for documents.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        try:
            file = os.open(RULES_NAME, flags, dir_fd=descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return Rules(())
            raise
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return Rules(())
            identity = identity_of(status)
            if identity not in self._known:
                self._known[identity] = self._read(file)
            return self._known[identity]
        finally:
            os.close(file)

    def _read(self, file: int) -> Rules:
        text = bytearray()
        while len(text) <= TEXT_BYTES_LIMIT and (block := os.read(file, TEXT_BYTES_LIMIT + 1)):
            text += block
        if self._bytes + len(text) > ALL_RULES_BYTES:
            raise TooManyRulesError(f"with those before it, it has more than {ALL_RULES_BYTES:,} bytes")
        self._bytes += len(text)
        return git_rules(bytes(text))

    def above(self, directory: str) -> DirectoryRules:
        """The rules that apply to a resolved directory from those above it, up to its repository or the allowed root.

        If they leave out the directory itself, none of them applies: whoever names it wants it all the same.
        """
        if os.path.lexists(f"{directory}/{REPOSITORY_NAME}"):
            return DirectoryRules()
        above: list[str] = []
        for parent in map(str, PurePosixPath(directory).parents):
            if not self._roots.has(parent):
                break
            above.append(parent)
            if os.path.lexists(f"{parent.rstrip('/')}/{REPOSITORY_NAME}"):
                break
        rules = DirectoryRules()
        for parent, below in zip(reversed(above), [*reversed(above[:-1]), directory], strict=False):
            rules = rules.with_own(self._rules_of(parent))
            name = os.path.basename(below)  # noqa: PTH119 (strings, as everywhere here)
            rules = DirectoryRules() if rules.ignores(name, is_directory=True) else rules.inside(name)
        return rules

    def _rules_of(self, directory: str) -> Rules:
        try:
            descriptor = open_below(directory, directory, self._roots, directory=True)
            try:
                return self.own(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ContextDenied, TooManyRulesError):  # rules that cannot be read do not apply
            return Rules(())


class Exclusions:
    """A request's `exclude`: patterns as in .gitignore, applied to what directories and globs find."""

    def __init__(self, patterns: Sequence[str], working_dir: str, home: str | None = None) -> None:
        """Parse the patterns. `home`: what `~` stands for.

        Raises:
            InvalidInput: one of them can match nothing, or there are more than 1,000.
        """
        if len(patterns) > EXCLUDE_LIMIT:
            raise InvalidInput(f"exclude has {len(patterns):,} patterns; the limit is {EXCLUDE_LIMIT:,} patterns.")
        self._working_dir, self._home = working_dir.rstrip("/") + "/", home
        self._rules = Rules([rule for pattern in patterns for rule in self._rules_of(pattern)])

    def __bool__(self) -> bool:
        return bool(self._rules)

    def exclude(self, path: str, base: str, *, is_directory: bool) -> bool:
        """Whether they match an entry, at `path` below the given `base`.

        A pattern with a slash is tried relative to the given directory, to the working directory and to `/`.
        """
        forms = [path[len(base.rstrip("/")) + 1 :], path[1:]]
        if path.startswith(self._working_dir):
            forms.append(path[len(self._working_dir) :])
        return any(self._rules.verdict(os.fsencode(form), is_directory=is_directory) for form in forms)

    def _rules_of(self, given: str) -> list[Rule]:
        if given.startswith("!"):
            raise InvalidInput(
                f"exclude has {quoted(given)}; a pattern says what is left out, and cannot begin with '!'.",
                "Write what is to be left out, or name what is to be loaded in context_paths.",
            )
        pattern = with_home(given, self._home)
        while pattern.startswith("./"):
            pattern = pattern[2:].lstrip("/")
        if pattern.startswith("../"):
            end = "/" if pattern.endswith("/") else ""
            pattern = os.path.normpath(self._working_dir + pattern) + end
        wanted = list(dict.fromkeys((pattern, *alternatives(pattern))))  # git has no braces: they mean themselves too
        wanted += [directory for one in wanted if (directory := _directory_of(one)) is not None]  # not even entered
        try:
            rules = [rule for one in wanted if (rule := git_rule(os.fsencode(one)))]
        except UnicodeEncodeError as error:
            raise InvalidInput(f"exclude has {quoted(given)}, with a lone surrogate, which no name has.") from error
        if not rules:
            raise InvalidInput(
                f"exclude has {quoted(given)}, which can match nothing: it is empty, is longer than "
                f"{RULE_BYTES_LIMIT:,} bytes, or ends within a '[...]' or after a '\\'."
            )
        return rules


def _directory_of(pattern: str) -> str | None:
    """`a/` for `a/**` and `a/**/*`, anchored as those are; None for any other pattern."""
    for end in ("/**/*", "/**"):
        directory = pattern.removesuffix(end)
        if directory != pattern and directory.strip("/*"):
            return f"{directory}/" if "/" in directory else f"/{directory}/"
    return None


def why_no_rules(error: OSError | TooManyRulesError) -> str:
    """Why a .gitignore is not honored, in a few words."""
    return f"its rules are not applied: {cause(error) if isinstance(error, OSError) else error}"
