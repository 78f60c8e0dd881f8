"""The server of `lab`, as a program of its own: it listens, says where, and leaves nothing behind.

Is: its directories, its end, and what of a person's is kept. Is not: what it serves (`locked_server.py`), nor the
environment it runs in, which is made by whoever starts it. A program: `commands/lab.py` becomes it. Below:
`locked_server.py`.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jupyter_core.paths import jupyter_config_dir

from rlm_kernel_mcp.lab.locked_server import configuration, made

DOCUMENTS: Final = "documents"
log = logging.getLogger("rlm-kernel-mcp")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the person or a signal ends it."""
    parser = argparse.ArgumentParser(prog="rlm-kernel-mcp lab")
    parser.add_argument("--own", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args(arguments)
    own: Path = options.own
    documents = own / DOCUMENTS
    try:
        documents.mkdir(mode=0o700)
        _use_no_configuration(own)
        config = configuration(own, documents, options.state_dir)
        made(config, port=options.port, open_browser=options.browser).start()
    finally:
        _leave(own, documents)
    return 0


def _use_no_configuration(own: Path) -> None:
    """Have Jupyter's configuration be an empty directory of ours, which it makes once and would leave behind."""
    usual, tempfile.tempdir = tempfile.tempdir, str(own)
    try:
        if own not in Path(jupyter_config_dir()).parents:
            raise SystemExit("rlm-kernel-mcp lab: JUPYTER_NO_CONFIG is not set; start it by `rlm-kernel-mcp lab`.")
    finally:
        tempfile.tempdir = usual


def _leave(own: Path, documents: Path) -> None:
    """Remove what the server kept; documents stay, if there are any."""
    if any(path.is_file() for path in documents.rglob("*")):
        for path in own.iterdir():
            if path.is_dir() and path != documents:
                shutil.rmtree(path, ignore_errors=True)
            elif path != documents:
                path.unlink(missing_ok=True)
        log.warning("What you saved is in %s.", documents)
    else:
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
