"""A connection file is believed where it names the sockets beside it, and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.lab.there import Place, Record, connection_of


def written(directory: Path, **changes: Any) -> Place:
    """A connection file as a host writes it, with changes."""
    file = directory / "kernel.json"
    ports = {
        f"{channel}_port": number for number, channel in enumerate(("shell", "iopub", "stdin", "hb", "control"), 1)
    }
    said = {"transport": "ipc", "ip": str(directory / "s"), "key": "k", "signature_scheme": "hmac-sha256", **ports}
    file.write_text(json.dumps({**said, **changes}), encoding="utf-8")
    return Place("s_1", str(file), 7, is_busy=False)


def test_a_hosts_file_says_where_its_kernel_is(tmp_path: Path) -> None:
    said = connection_of(written(tmp_path, kernel_name="x", more=[1]))
    assert said is not None
    assert (said["ip"], said["key"], said["shell_port"]) == (str(tmp_path / "s"), "k", 1)
    assert set(said) == {
        "transport", "ip", "key", "signature_scheme",
        "shell_port", "iopub_port", "stdin_port", "hb_port", "control_port",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"transport": "tcp"},
        {"ip": "127.0.0.1"},
        {"ip": "/somewhere/else/s"},
        {"ip": ["x"]},
        {"key": ""},
        {"key": None},
        {"signature_scheme": "none"},
        {"shell_port": 0},
        {"iopub_port": 6},
        {"hb_port": True},
        {"control_port": "5"},
        {"more": "x" * 8_000},
    ],
    ids=str,
)
def test_another_kernels_sockets_are_never_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert connection_of(written(tmp_path, **changes)) is None


def test_a_file_that_is_gone_a_link_or_no_file_is_none(tmp_path: Path) -> None:
    """A FIFO is not waited for."""
    place = written(tmp_path)
    file = Path(place.connection_file)
    file.rename(tmp_path / "real.json")
    assert connection_of(place) is None
    file.symlink_to(tmp_path / "real.json")
    assert connection_of(place) is None
    file.unlink()
    os.mkfifo(file)
    assert connection_of(place) is None


def test_who_only_looks_leaves_no_store_behind(tmp_path: Path) -> None:
    record = Record(tmp_path / "state")
    assert record.places() == []
    record.close()
    assert not (tmp_path / "state").exists()
