"""What `rlm_get_var` and `rlm_finalize` make of values of numpy and pandas, which are in the environment of the lab."""

from __future__ import annotations

import json
import subprocess
from typing import Final

from tests.lab.home import WAIT_S
from tests.parts import ROOT, lab_python

LOOK: Final = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, pandas as pd
from rlm_kernel_mcp.in_kernel.display_text.values import describe, view

def seen(value):
    one, answer = view(value, 0, 4000), view(value, 0, 4000, as_text=True)
    return [one.json, one.payload.decode(), answer.payload.decode() if answer.own else None, describe(value)[1]]

print(json.dumps({code: seen(eval(code)) for code in json.loads(sys.argv[2])}))
"""
ZEROS: Final = "array([" + "0.0, " * 199_999 + "0.0, … 800,000 more items])"
VALUES: Final = {
    "np.int64(5)": [True, "5", "5", None],
    "np.float32(1.5)": [True, "1.5", "1.5", None],
    "np.float64(1.5)": [True, "1.5", "1.5", None],
    "np.float64('nan')": [False, "np.float64(nan)", "nan", None],
    "np.bool_(True)": [True, "true", "true", None],
    "np.complex128(1j)": [False, "np.complex128(1j)", "1j", None],
    "np.uint64(2**63)": [False, "np.uint64(9223372036854775808)", "9223372036854775808", None],
    "np.datetime64('2024-01-01')": [False, "np.datetime64('2024-01-01')", "2024-01-01", None],
    "np.timedelta64(5, 'D')": [False, "np.timedelta64(5,'D')", "5 days", None],
    "{'total': np.int64(1)}": [True, '{"total":1}', '{"total": 1}', 1],
    "{1: np.int64(1)}": [False, "{1: np.int64(1)}", "{1: np.int64(1)}", 1],
    "np.arange(3)": [False, "array([0, 1, 2])", "array([0, 1, 2])", 3],
    "np.zeros((2, 1))": [False, "array([[0.0], [0.0]])", "array([[0.0], [0.0]])", 2],
    "np.array(3)": [False, "array(3)", "array(3)", None],
    "np.zeros(1_000_000)": [False, ZEROS[:4000], ZEROS[:4000], 1_000_000],
    "pd.DataFrame({'a': [1]})": [False, "<DataFrame object>", None, None],
    "pd.Series([1])": [False, "<Series object>", None, None],
    "pd.Timestamp('2024-01-01')": [False, "Timestamp(year=2024, month=1, day=1)", None, None],
    "pd.NaT": [False, "NaT", None, None],
    "pd.Series([1, 2]).sum()": [True, "3", "3", None],
}


def test_numbers_times_and_arrays_are_what_they_hold_and_a_table_is_refused() -> None:
    """A number of numpy was `<int64 object>` and no answer; of pandas, whose code is Python's, none is run."""
    asked = [str(lab_python()), "-c", LOOK, str(ROOT), json.dumps(list(VALUES))]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert json.loads(done.stdout) == VALUES


COUNT: Final = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from rlm_kernel_mcp.in_kernel.display_text.library_values import array_part

many = [("", "i4")] * 1_000
arrays = np.empty((250_000, 0)), np.empty((250_000, 0, 3)), np.zeros(300, many), np.array(b"x" * 20_000_000)
print(json.dumps([[len(items), more] for items, more in map(array_part, arrays)]))
"""


def test_an_array_is_shown_as_far_as_it_makes_no_flood_of_objects() -> None:
    """Lists without items and the fields of records count as items: a billion empty rows take no byte in the array."""
    asked = [str(lab_python()), "-c", COUNT, str(ROOT)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert json.loads(done.stdout) == [
        [200_000, "… 50,000 more of 250,000 items of shape (0,)"],
        [200_000, "… 50,000 more of 250,000 items of shape (0, 3)"],
        [200, "… 100 more items"],
        [20_000_000, ""],
    ]
