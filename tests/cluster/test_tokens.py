"""Whether a Ray asks for a token is tried by one who has none; one that takes anybody is no cluster of ours."""

from __future__ import annotations

import os

import pytest

from rlm_kernel_mcp.cluster.place import ClusterPlace, refuses_strangers
from tests.cluster.keeper import Keeper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_cluster_of_ours_refuses_whoever_has_no_token(keeper: Keeper) -> None:
    assert refuses_strangers(ClusterPlace(keeper.address), os.environ)
