"""Texts in which the functions look, as a kernel that has loaded them has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rlm_kernel_mcp.in_kernel.explore.sources import Source, look_in, set_source

Load = Callable[..., Source]


def source_of(documents: dict[str, str], name: str = "context", encoding: str = "utf-8") -> Source:
    """A context of these documents."""
    errors = "surrogateescape" if encoding.startswith("utf-8") else "backslashreplace"
    rows = [(document, len(text), encoding, errors) for document, text in documents.items()]
    return Source(name, "".join(documents.values()), rows)


@pytest.fixture
def load() -> Iterator[Load]:
    """Load documents by name, in place of what there was, or beside it with `first=False`."""

    def load(
        documents: dict[str, str], *, first: bool = True, name: str = "context", encoding: str = "utf-8"
    ) -> Source:
        source = source_of(documents, name, encoding)
        set_source(source, first=first)
        return source

    look_in({})
    yield load
    look_in({})
