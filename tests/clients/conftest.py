"""Each check of the protocol runs against our kernel, as a foreign client starts it, and against the stock one.

The stock kernel is the control: a check that it fails says nothing about ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.client import Client, started

KERNELS = ("rlm-python", "rlm-any", "python3")


@pytest.fixture(scope="package", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[Client]:
    """One kernel for all checks: ours under each import policy, then ipykernel's. Socket paths must be short."""
    name = request.param
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        policy = {"imports": {"mode": "any"}} if name == "rlm-any" else {}
        with started("rlm-python" if policy else name, Path(directory), **policy) as client:
            yield client
