"""What we say of tables, and what pandas does once pyarrow has come, against pandas itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.mcp.line_client import LineClient
from tests.parts import ROOT, data_python

pytestmark = pytest.mark.slow
WAIT_S: Final = 100
LOOK: Final = """
import datetime, decimal, json, sys
sys.modules["pyarrow"] = None
import numpy as np, pandas as pd
from rlm_kernel_mcp.in_kernel.display_text.object_text import object_text
from rlm_kernel_mcp.in_kernel.tables import writing
from rlm_kernel_mcp.in_kernel.libraries.settings import own_settings

with own_settings([]):
    writing.note()
made = {code: eval(code) for code in json.loads(sys.argv[1])}
print(json.dumps({code: [object_text(value)[0], str(value)] for code, value in made.items()}))
"""
USES: Final = """
import ast, json, pathlib, pandas
from pandas.compat import pyarrow
names = {name for name, value in vars(pyarrow).items() if type(value) is bool}
def is_branch(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "HAS_PYARROW"
def run_at_import(node):
    "Every node that runs when its module is imported, and none of a function's body or of a branch at the top."
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if not (isinstance(node, ast.Module) and is_branch(child)):
                yield child
                yield from run_at_import(child)
root, found, branches = pathlib.Path(pandas.__file__).parent, [], 0
for path in root.rglob("*.py"):
    if "tests" in path.parts or path == root / "compat" / "pyarrow.py":
        continue
    tree = ast.parse(path.read_text())
    branches += sum(map(is_branch, tree.body))
    used = [node for node in run_at_import(tree) if isinstance(node, ast.Name) and node.id in names]
    found += [f"{path.relative_to(root)}:{node.lineno}" for node in used]
print(json.dumps([found, branches]))
"""
HELD: Final = """
import json, sys
from rlm_kernel_mcp.in_kernel.libraries.hidden import hidden
from rlm_kernel_mcp.in_kernel.libraries.settings import own_settings
with own_settings([]), hidden(json.loads(sys.argv[1])):
    import pandas
import pyarrow
def said(value):
    return repr(value) if type(value) in (bool, int, str, type(None)) else type(value).__name__
print(json.dumps({
    f"{name} {key}": said(value)
    for name, module in sys.modules.items() if name.partition(".")[0] == "pandas"
    for key, value in vars(module).items() if not key.startswith("__")
}))
"""
EARLY: Final = """
import json, sys
import io, numpy as np, pyarrow as pa, pandas as pd
pd.set_option("mode.string_storage", "python")
pd.set_option("display.max_columns", 20)
print(json.dumps([repr(eval(code)) for code in json.loads(sys.argv[1])]))
"""
WITH_ARROW: Final = (
    "pd.Series([1, None, 3], dtype='int64[pyarrow]').sum()",
    "pd.Series(['a', 'B', None], dtype='string[pyarrow]').str.upper()",
    "pd.Series(['a', 'B', None], dtype=pd.ArrowDtype(pa.string())).str.len()",
    "pd.Series(pd.to_datetime(['2024-01-01'])).astype('timestamp[ns][pyarrow]').dt.year",
    "pd.Series([[1, 2], [3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))).list.len()",
    "pd.Series([{'x': 1}], dtype=pd.ArrowDtype(pa.struct([('x', pa.int64())]))).struct.field('x')",
    "pa.table({'a': [1, 2], 'b': ['x', None]}).to_pandas().dtypes",
    "pa.Table.from_pandas(pd.DataFrame({'a': [1.5], 'b': ['x']})).schema.remove_metadata()",
    "pd.read_csv(io.StringIO('a,b\\n1,x\\n2,y'), engine='pyarrow')",
    "pd.read_csv(io.StringIO('a,b\\n1,x\\n2,y'), dtype_backend='pyarrow').dtypes",
    "pd.DataFrame({'a': ['x', 'y', 'x'], 'n': [1, 2, 3]}).convert_dtypes(dtype_backend='pyarrow').groupby('a').n.sum()",
    "pd.Series(['b', 'a']).dtype, pd.Series(['b', 'a']).sort_values().tolist(), pd.Series(['b']).str.contains('b')",
    "pd.DataFrame({'s': ['x', None]}).to_feather(b := io.BytesIO()) or pd.read_feather(b).dtypes",
    "pd.Series(['1', '2']).astype('int64[pyarrow]') + 1",
    "pd.Index(['x', 'y'], dtype='string[pyarrow]').get_indexer(['y'])",
    "pd.Series(pa.array([1, None])), pd.Series(pa.chunked_array([[1], [2]]))",
)


def asked(program: str, *given: str) -> str:
    argv = [str(data_python()), "-c", program, *given]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_s_text_is_pandas_own() -> None:
    """It is made from the arrays, with none of pandas' code run."""
    codes = (Path(__file__).parent / "tables.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = json.loads(asked(LOOK, json.dumps(codes)))
    assert {code: ours for code, (ours, _) in found.items()} == {code: printed for code, (_, printed) in found.items()}


def test_pandas_decides_by_pyarrow_at_import_in_branches_of_one_form_alone() -> None:
    """Those that are run once it has come (decision 0162); a new version that decides otherwise is to be read."""
    found, branches = json.loads(asked(USES))
    assert found == []
    assert branches >= 7


def test_every_module_of_pandas_has_what_it_would_have_if_pyarrow_had_been_there() -> None:
    """But for a C module that does without: it reads texts into Python's strings, whatever comes of them then."""
    late, early = (json.loads(asked(HELD, json.dumps(names))) for names in (["pyarrow"], []))
    differ = {key for key in late.keys() | early.keys() if late.get(key) != early.get(key)}
    assert differ == {"pandas._libs.parsers HAS_PYARROW", "pandas._libs.parsers pa"}


def test_pandas_does_with_a_late_pyarrow_what_it_does_with_one_that_was_there_first(client: LineClient) -> None:
    """In a kernel, against a process that imported pyarrow before pandas."""
    session = client.open_session()
    client.run(session, "import io, numpy as np, pandas as pd, pyarrow as pa")
    late = [client.run(session, f"print(repr(({code})))")["stdout"].removesuffix("\n") for code in WITH_ARROW]
    assert dict(zip(WITH_ARROW, late, strict=True)) == dict(
        zip(WITH_ARROW, json.loads(asked(EARLY, json.dumps(WITH_ARROW))), strict=True)
    )
