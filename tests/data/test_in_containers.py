"""A kernel of rlm-python-data in a container: numpy, pandas, pyarrow and matplotlib, behind the same walls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.test_in_kernels import FIGURE, MATMUL, PARQUET, result_of
from tests.escape.container.runtimes import ContainerServer, answering, image_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # CI has the image by then; elsewhere it is made first
FRAME = "pd.DataFrame({'a': [1, 2], 'b': ['x', None]})"
AS_PRINTED = "   a    b\n0  1    x\n1  2  NaN"


@pytest.fixture(scope="module", params=answering())
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerServer]:
    """In each engine of this machine. The server's own Python has none of these libraries."""
    runtime = str(request.param)
    image = image_in(runtime, of_data=True)
    settings = {"RLM_KERNEL": "rlm-python-data", "RLM_SANDBOX_CONTAINER_IMAGE": image}
    found = ContainerServer(runtime, tmp_path_factory.mktemp("server"), **settings)
    try:
        yield found
    finally:
        found.close()


def test_its_libraries_are_there_and_a_table_is_shown_read_and_given_as_an_answer(server: ContainerServer) -> None:
    """Those that are loaded before the walls, pyarrow at its first use, and a figure, for which there are fonts."""
    client = server.client
    opened = client.data("rlm_init_context", context_text="n")
    assert "container" in opened["walls"]
    session: str = opened["session_id"]
    assert result_of(client, session, MATMUL) == "300.0"
    assert result_of(client, session, PARQUET) == "(True, True)"
    assert result_of(client, session, FIGURE) == r"b'\x89PNG\r\n\x1a\n'"
    assert result_of(client, session, f"import pandas as pd\nframe = {FRAME}\nframe") == AS_PRINTED
    assert client.data("rlm_get_var", session_id=session, var_name="frame")["value"] == AS_PRINTED
    assert client.data("rlm_finalize", session_id=session, final_var_name="frame")["final_answer"] == AS_PRINTED
