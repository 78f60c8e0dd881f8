"""numpy, pandas, pyarrow and matplotlib in kernels behind every wall."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.data.conftest import serving
from tests.mcp.line_client import LineClient
from tests.parts import ROOT, data_python

pytestmark = pytest.mark.slow
WAIT_S: Final = 120
TABLE: Final = "pd.DataFrame({'a': [1, 2, 3], 'b': ['x', 'y', None], 'c': [1.5, 2.25, None]})"
MATMUL: Final = "import numpy as np; m = np.ones((300, 300)); float((m @ m)[0, 0])"
PARQUET: Final = f"""import io, pandas as pd
table, buffer = {TABLE}, io.BytesIO()
table.to_parquet(buffer)
pd.read_parquet(buffer).equals(table), len(buffer.getvalue()) > 1000"""
FIGURE: Final = """import io, matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2, 3], label="a line")
axes.set_title("Größe in €")
axes.legend()
buffer = io.BytesIO()
figure.savefig(buffer, format="png")
plt.close(figure)
buffer.getvalue()[:8]"""
TOGETHER: Final = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from rlm_kernel_mcp.api import Sessions
with Sessions(host="off", env={"RLM_KERNEL": "rlm-python-data", "RLM_STATE_DIR": sys.argv[1]}) as sessions:
    opened = [sessions.open(context_text="n") for _ in range(10)]
    steps = json.loads(sys.argv[2])
    def all_steps(one):
        return [(r.status, r.result, str(r.error)) for r in map(one.run, steps)]
    with ThreadPoolExecutor(len(opened)) as pool:
        reports = list(pool.map(all_steps, opened))
    for session in opened:
        session.close()
print(json.dumps(reports))
"""


def result_of(client: LineClient, session: str, code: str) -> str:
    """The result of a step that ends well."""
    report: dict[str, Any] = client.run(session, code)
    assert report["status"] == "ok", report
    assert isinstance(report["result"], str), report
    return report["result"]


def test_ten_kernels_at_once_multiply_and_read_parquet(tmp_path: Path) -> None:
    """Each imports pyarrow itself, behind its walls, and none draws the same random numbers as another."""
    steps = [MATMUL, PARQUET, "float(np.random.random())"]
    argv = [str(data_python()), "-c", TOGETHER, str(tmp_path), json.dumps(steps)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    reports: list[list[list[str]]] = json.loads(done.stdout)
    assert [[status for status, *_ in report] for report in reports] == [["ok"] * 3] * 10, reports
    assert [[result for _, result, _ in report][:2] for report in reports] == [["300.0", "(True, True)"]] * 10
    assert len({report[2][1] for report in reports}) == 10


def test_numpy_and_pandas_are_there_at_once_and_pyarrow_once_it_is_asked_for(client: LineClient) -> None:
    """Also in the tier without namespaces, and with every import allowed."""
    session = client.open_session()
    assert result_of(client, session, MATMUL) == "300.0"
    assert result_of(client, session, PARQUET) == "(True, True)"
    late = "import pyarrow as pa, pyarrow.compute as pc\npc.sum(pa.array([1, 2, 3])).as_py()"
    assert result_of(client, session, late) == "6"
    dataset = "import pyarrow.csv as pc\npc.read_csv(io.BytesIO(b'a,b\\n1,2\\n')).to_pandas().shape"
    assert result_of(client, session, dataset) == "(1, 2)"


def test_a_text_context_becomes_a_table(client: LineClient, session: str) -> None:
    """As the text that it is: no file of it can be opened."""
    code = "import io, pandas as pd\npd.read_csv(io.StringIO(context)).sold.sum().item()"
    assert result_of(client, session, code) == "8"


def test_a_figure_is_drawn(client: LineClient, session: str) -> None:
    """With a font that a kernel can read; nothing of it is looked for, or kept, in the scratch directory."""
    assert result_of(client, session, FIGURE) == r"b'\x89PNG\r\n\x1a\n'"
    assert result_of(client, session, "import pathlib\n[one.name for one in pathlib.Path(scratch).iterdir()]") == "[]"


def test_a_table_reads_and_is_an_answer_as_it_is_printed(client: LineClient) -> None:
    """The result of a step, what it prints, what `rlm_get_var` says and the final answer are one text."""
    session = client.open_session()
    shown = result_of(client, session, f"import pandas as pd\ntable = {TABLE}\ntable")
    assert client.run(session, "print(table)")["stdout"] == f"{shown}\n"
    assert client.data("rlm_get_var", session_id=session, var_name="table")["value"] == shown
    assert client.data("rlm_finalize", session_id=session, final_var_name="table")["final_answer"] == shown


def test_a_long_table_is_an_answer_that_says_how_long_it_is(client: LineClient) -> None:
    """As it is printed: head and tail."""
    session = client.open_session()
    client.run(session, "import pandas as pd\ntable = pd.DataFrame({'a': range(1000)})")
    answer = client.data("rlm_finalize", session_id=session, final_var_name="table")["final_answer"]
    assert answer.endswith("999  999\n\n[1000 rows x 1 columns]")


def test_what_a_step_puts_in_pandas_place_is_not_asked_for_a_table_s_text(client: LineClient) -> None:
    """It would run on the control thread, and could hang there."""
    session = client.open_session()
    client.run(
        session,
        "import pandas as pd\ntable = pd.DataFrame({'a': [1]})\n"
        "def hang(*given, **named):\n    while True: pass\n"
        "for name in ('__repr__', 'to_string', '__len__', 'dtypes', 'shape'): setattr(pd.DataFrame, name, hang)",
    )
    assert client.data("rlm_get_var", session_id=session, var_name="table")["value"] == "   a\n0  1"


def test_a_table_comes_back_in_another_server(tmp_path: Path) -> None:
    """From its snapshot, in a kernel that has pandas."""
    (tmp_path / "server").mkdir()
    first = serving(tmp_path / "server", "-m", "rlm_kernel_mcp")
    session = first.open_session()
    shown = result_of(first, session, f"import pandas as pd\ntable = {TABLE}\ntable")
    result_of(first, session, "len(table)")
    assert first.end() == 0
    first.kill()
    second = serving(tmp_path / "server", "-m", "rlm_kernel_mcp")
    try:
        assert result_of(second, session, "table") == shown
    finally:
        second.kill()
