"""A context by paths whose files were copied from another machine, and are named as that one names them.

Is: what a manifest says, where its files lie, and the sources that they are. Is not: how they come there
(`cluster/contexts/`), nor a look at any root: that was had where the paths mean something. Above: `source.py`,
`cluster/contexts/gathering.py`, `cluster/contexts/placing.py`. Below: `context/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from rlm_kernel_mcp.context.loader.compressed import ENDS
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import Source, Sources, too_large
from rlm_kernel_mcp.context_wire import Form
from rlm_kernel_mcp.errors import ContextNotFound

DIRECTORY: Final = "copied-contexts"
"""Below a state directory; in it one for each manifest."""
NAME: Final = "manifest.json"


class Copied(NamedTuple):
    """One file, and where its bytes lie among those that were copied."""

    name: str
    given: str | None
    """The client's own path, if it names this very file."""
    blob: str
    """The hash of what has its bytes: all of it, or of a small file a part."""
    offset: int
    size: int

    form: Form = "plain"
    """How the file is compressed."""

    def place(self, number: int) -> str:
        """The name of its copy: it ends as its own does where that says how it is to be read."""
        return f"{number}{ENDS.get(self.form, '')}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one context, in their order."""

    prefix: str
    """The client's directory that their names are relative to."""
    files: tuple[Copied, ...]
    skipped: Skipped

    def data(self) -> bytes:
        """It as bytes, of which the hash names it."""
        said = {"prefix": self.prefix, "files": self.files, "skipped": asdict(self.skipped)}
        return json.dumps(said, separators=(",", ":")).encode()

    @classmethod
    def of(cls, data: bytes) -> Self:
        """It from them. Raises: ValueError, TypeError, KeyError: they are none."""
        said: dict[str, Any] = json.loads(data)
        return cls(said["prefix"], tuple(Copied(*one) for one in said["files"]), Skipped(**said["skipped"]))

    @property
    def blobs(self) -> Sequence[str]:
        """The hashes of all that has their bytes, each once."""
        return list(dict.fromkeys(one.blob for one in self.files))


def place_of(state_dir: Path, sha256: str) -> Path:
    """The directory of the files of a manifest."""
    return Path(os.path.realpath(state_dir)) / DIRECTORY / sha256


def roots_of(state_dir: Path) -> Roots:
    """What files of manifests lie below."""
    return Roots.named(Path(os.path.realpath(state_dir)) / DIRECTORY)


def sources_of(state_dir: Path, sha256: str, max_bytes: int) -> Sources:
    """The files of a manifest, as if they lay where the client has them; blocking.

    Raises:
        ContextNotFound: they are not on this machine. ContextTooLarge: more than `max_bytes`.
    """
    place = place_of(state_dir, sha256)
    try:
        manifest = Manifest.of((place / NAME).read_bytes())
    except OSError:
        raise ContextNotFound(
            "the context's files were copied from another machine, and their copies are not on this one",
            "Use the session where it was opened, in the cluster.",
        ) from None
    size = sum(one.size for one in manifest.files)
    if size > max_bytes:
        raise too_large(size, max_bytes)
    files = [Source(one.name, str(place / one.place(number)), one.given) for number, one in enumerate(manifest.files)]
    return Sources(tuple(files), manifest.prefix, roots_of(state_dir), max_bytes, manifest.skipped, size)
