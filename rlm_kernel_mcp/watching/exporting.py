"""A session as one file: the live page with all that its stream would say, which asks nobody for anything.

Is: the page's own files put together, under a policy that allows these alone, by their hashes. Is not: another page;
nor what the stream says (`messages/`). Above: `commands/watch.py`. Below: the page's files in `static/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
BEGINS: Final = "app.js"
_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:const|function|async function|class) ([\w$]+))", re.MULTILINE)
_DEFINED: Final = re.compile(r"^export (?:const|function|async function|class) ([\w$]+)", re.MULTILINE)
_STYLE: Final = re.compile(r'<link rel="stylesheet" href="([^"]+)">\n')
_SCRIPT: Final = f'<script type="module" src="{BEGINS}"></script>\n'


def exported(messages: Iterable[Mapping[str, object]]) -> str:
    """The page of these messages, as HTML: what a stream says from its head to its end.

    A picture's `data`, an address of its bytes, is what shows it here.
    """
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in _STYLE.findall(page))
    script = joined(STATIC)
    # Nothing in it can end the element that it stands in, or begin another.
    data = json.dumps([*messages], separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<meta charset="utf-8">\n'
    page = _STYLE.sub("", page).replace('<meta charset="utf-8">\n', head, 1)
    page = page.replace(_SCRIPT, f"<style>{style}</style>\n", 1)
    ends = f'<script type="application/json" id="export">{data}</script>\n<script type="module">{script}</script>\n'
    return page.replace("</body>", f"{ends}</body>", 1)


def joined(static: Path) -> str:
    """All modules as one: each in a function of its own, after those that it imports."""
    parts: dict[str, str] = {}
    _take(static, PurePosixPath(BEGINS), parts)
    script = "".join(parts.values())
    assert "</script" not in script, "it would end the element"
    return script


def _take(static: Path, module: PurePosixPath, parts: dict[str, str]) -> None:
    if str(module) in parts:
        return
    text = (static / module).read_text(encoding="utf-8")
    for _, name in _IMPORT.findall(text):
        _take(static, _resolved(module, name), parts)
    body = _IMPORT.sub(lambda found: _given(found[1], _resolved(module, found[2])), text)
    body = _EXPORT.sub("", body)
    gives = ", ".join(_DEFINED.findall(text))
    parts[str(module)] = f"const {_variable(module)} = (() => {{\n{body}return {{ {gives} }};\n}})();\n"


def _given(names: str, module: PurePosixPath) -> str:
    """An import from a module that is a variable here."""
    return f"const {{{names.replace(' as ', ': ')}}} = {_variable(module)};\n"


def _resolved(module: PurePosixPath, name: str) -> PurePosixPath:
    """What a module means by a relative name."""
    parts: list[str] = []
    for part in (module.parent / name).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)


def _variable(module: PurePosixPath) -> str:
    return "module_" + re.sub(r"\W", "_", str(module.with_suffix("")))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
