"""A session's notebook as one page that loads nothing and runs nothing, by nbconvert.

Is: nbconvert's exporter with what it can be told (its own cleaning of HTML, no address of anything), and what holds
even so: no script is left in the page, and a policy in its head allows styles and pictures that are in it. Is not: the
live page. nbconvert is an extra, imported here alone. Above: `commands/trace.py`. Below: nbconvert.
"""

from __future__ import annotations

import re
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.names import KEY
from rlm_kernel_mcp.notebook.form.outputs import Json

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
META: Final = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
_SCRIPT: Final = re.compile(r"<script\b.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_HEAD: Final = re.compile(r"<head\b[^>]*>", re.IGNORECASE)


def page_of(notebook: Json) -> str:
    """The page.

    Raises:
        InvalidInput: nbconvert is not installed.
    """
    try:
        import nbformat
        from nbconvert.exporters.html import HTMLExporter
    except ImportError as error:
        raise InvalidInput(
            f"--format html needs nbconvert, which is not installed here ({error.name}).",
            "Install the extra `notebook` of this package, or use --format notebook and nbconvert elsewhere.",
        ) from error
    addresses = {name: "" for name in HTMLExporter.class_trait_names() if name.endswith("_url")}
    exporter = HTMLExporter(sanitize_html=True, embed_images=False, exclude_anchor_links=True, **addresses)
    page, _ = exporter.from_notebook_node(nbformat.from_dict(with_texts_displayed(notebook)))
    return without_scripts(page)


def with_texts_displayed(notebook: Json) -> Json:
    """With the source of what its steps have displayed as HTML, Markdown and SVG, which nothing renders."""
    cells = []
    for cell in notebook["cells"]:
        sources = (f"[{one['type']}]\n{one['text']}" for one in cell["metadata"][KEY].get("displays", ()))
        shown = [{"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}} for text in sources]
        cells.append({**cell, "outputs": [*cell["outputs"], *shown]} if shown else cell)
    return {**notebook, "cells": cells}


def without_scripts(page: str) -> str:
    """A page of nbconvert's without its own scripts, with the policy before all that it could forbid.

    Raises:
        ValueError: it has no head, so it is no page of nbconvert's.
    """
    bare = _SCRIPT.sub("", page)
    head = _HEAD.search(bare)
    if head is None:
        raise ValueError("nbconvert's page has no head")
    return f"{bare[: head.end()]}{META}{bare[head.end() :]}"
