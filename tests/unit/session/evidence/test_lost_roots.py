"""The check of citations when roots cannot be looked at, or are lost: that says nothing about any file."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.roots.open_roots import Allowed, Roots
from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.errors import ContextDenied
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.evidence.documents import Documents
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from tests.unit.session.evidence.sources import checked, contexts_of, files

LINE = "The only line that this document has.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def contexts(root: Path) -> ContextList:
    return contexts_of(root, files(root, a=LINE.encode()))


def cited() -> EvidenceBook:
    """The whole line, as a step has marked it."""
    book = EvidenceBook()
    text = LINE.strip()
    book.take([Claim(1, "context", "a.txt", 0, len(text), hashlib.sha256(text.encode()).hexdigest(), text)])
    return book


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_server_without_descriptors_says_so_and_takes_no_file_for_changed(
    contexts: ContextList, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the roots cannot be looked at, nor where the file itself cannot be opened."""
    real = os.open

    def full(*_: object, **__: object) -> Roots:
        raise OSError(number, os.strerror(number))

    def full_for_files(path: str, flags: int, **more: int) -> int:
        return full() if path == "a.txt" else real(path, flags, **more)  # type: ignore[return-value]

    for where, name, instead in ((Roots, "allowed", full), (os, "open", full_for_files)):
        assert checked(contexts, book=cited(), marks=(1,)).citations[0].status == "verified"
        with monkeypatch.context() as patched:
            patched.setattr(where, name, instead)
            with pytest.raises(ContextDenied, match=os.strerror(number).lower()):
                checked(contexts, book=cited(), marks=(1,))


def test_a_lost_root_is_told_and_its_files_are_not_taken_for_changed(root: Path, contexts: ContextList) -> None:
    """The file is where it was in the directory, which was moved."""
    root.rename(root.with_name("was"))
    mark, quote = checked(contexts, LINE.strip(), book=cited(), marks=(1,)).citations
    assert (mark.status, quote.status) == ("missing", "changed")
    assert "moved, removed or replaced, or is out of reach" in (mark.why or "")
    assert "cannot be read" in (quote.why or "")
    with Documents(contexts) as documents:
        (listed,) = documents.listed()
        for _ in range(2):
            with documents.open(listed) as document:
                assert document is None
        assert documents.changed == set()
        (why,) = documents.unread
        assert f"no root any more: '{root}'" in why


def test_contexts_with_the_same_roots_share_the_descriptors_of_these(
    root: Path, contexts: ContextList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session may have many contexts, and its client many roots."""
    (context,) = contexts.all
    others = contexts_of(root, replace(context.source, name="other"))
    taken, real = list[Roots](), Roots.allowed

    def noted(roots: Roots) -> Allowed:
        taken.append(roots)
        return real(roots)

    monkeypatch.setattr(Roots, "allowed", noted)
    with Documents(contexts) as documents:
        openers = {id(documents._opener(one)) for one in (context, *others.all)}
    assert (len(openers), len(taken)) == (1, 1)
