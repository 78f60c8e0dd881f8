"""nbclient, nbconvert and papermill run a notebook on the locked kernel, and it looks as it does on a stock kernel.

The control is the same notebook on the stock kernel, run by the same program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import pytest

from tests.lab.home import LOCKED, STOCK, Home

pytestmark = pytest.mark.slow

CELLS: Final = {
    "stream": "print('hello')\nimport statistics\nstatistics.mean([1, 2, 3])",
    "html": "from IPython.display import HTML\nHTML('<b>bold</b>')",
    "own repr": "class Own:\n    def _repr_html_(self):\n        return '<i>own</i>'\n    def __repr__(self):\n"
    "        return 'own'\nOwn()",
    "svg": 'from IPython.display import SVG\nSVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\')',
    "markdown": "from IPython.display import Markdown, display\ndisplay(Markdown('# title'))",
    "latex": "from IPython.display import Latex\nLatex('$x^2$')",
    "json": "from IPython.display import JSON\nJSON({'a': [1, 2]})",
    "display id": "shown = display(Markdown('one'), display_id='same')\nshown.update(Markdown('two'))",
    "clear": "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('stays')",
    "javascript": "from IPython.display import Javascript\ndisplay(Javascript('alert(1)'))\n"
    "display({'application/javascript': 'alert(2)', 'text/plain': 'p'}, raw=True)",
    "order": "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')",
}
"""Cells by name; each has the modules that the allowlist grants."""
DATA_CELLS: Final = {
    "frame": "import pandas\npandas.DataFrame({'a': [1, 2], 'b': ['x', 'y']})",
    "figure": "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2, 3])",
    "bar": "from tqdm import tqdm\nfor _ in tqdm(range(3), mininterval=0):\n    pass",
    "notebook bar": "import warnings\nwarnings.simplefilter('ignore')\nfrom tqdm.auto import tqdm\n"
    "for _ in tqdm(range(3), mininterval=0):\n    pass",
}
"""Cells that need `RLM_IMPORT_POLICY=any`."""


def notebook(cells: list[str]) -> str:
    """A notebook of these code cells."""
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{at}", "source": source, "outputs": [], "metadata": {}, "execution_count": None}
        for at, source in enumerate(cells)
    ]
    spec = {"name": STOCK, "display_name": STOCK, "language": "python"}
    return json.dumps({"cells": code, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5})


RUNS: Final = {
    "nbclient": ("jupyter", "execute", "in.ipynb", "--kernel_name={kernel}", "--output=out-{kernel}.ipynb"),
    "nbconvert": (
        "jupyter",
        "nbconvert",
        "--to=notebook",
        "--execute",
        "--ExecutePreprocessor.kernel_name={kernel}",
        "--output=out-{kernel}.ipynb",
        "in.ipynb",
    ),
    "papermill": ("papermill", "--kernel={kernel}", "--no-progress-bar", "in.ipynb", "out-{kernel}.ipynb"),
}


def ran(home: Home, program: str, kernel: str, cells: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Each cell's outputs, by its name, after a program ran the notebook on a kernel."""
    home.write("in.ipynb", notebook(list(cells.values())))
    done = home.run(*(part.format(kernel=kernel) for part in RUNS[program]))
    assert done.returncode == 0, done.stderr
    found = json.loads((home.directory / f"out-{kernel}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in found if cell["cell_type"] == "code"]
    return {name: merged(map(comparable, cell["outputs"])) for name, cell in zip(cells, code, strict=True)}


def merged(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs in which what one stream said in a row is one: how it was cut is a matter of time."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            output["text"] = "".join(output["text"])
            if found and found[-1].get("name") == output["name"]:
                found[-1]["text"] += output["text"]
                continue
        found.append(output)
    return found


def comparable(output: dict[str, Any]) -> dict[str, Any]:
    """An output without what differs from run to run: addresses, ids of widgets and figures, times."""
    text = json.dumps(output, sort_keys=True)
    text = re.sub(r"0x[0-9a-f]{6,}", "0x", re.sub(r"\[\d\d:\d\d<[^]]*\] *", "[]", text))  # a progress bar's times
    without: dict[str, Any] = json.loads(re.sub(r'"(model_id)": "[0-9a-f]+"', r'"\1": ""', text))
    if "image/png" in without.get("data", {}):
        without["data"]["image/png"] = without["data"]["image/png"][:20]  # its signature and size
    return without


@pytest.fixture(scope="module")
def stock(home: Home) -> dict[str, list[dict[str, Any]]]:
    """What the stock kernel makes of the cells."""
    return ran(home, "nbclient", STOCK, CELLS)


@pytest.fixture(scope="module")
def stock_data(any_module: Home) -> dict[str, list[dict[str, Any]]]:
    """What the stock kernel makes of the cells with data."""
    return ran(any_module, "nbclient", STOCK, DATA_CELLS)


@pytest.fixture(scope="module")
def any_module(home: Home) -> Home:
    """The home with every installed module allowed."""
    return Home(home.directory, {**home.env, "RLM_IMPORT_POLICY": "any"})


@pytest.mark.parametrize("program", RUNS)
def test_a_notebook_looks_as_on_a_stock_kernel(
    home: Home, stock: dict[str, list[dict[str, Any]]], program: str
) -> None:
    """Text, html, svg, markdown, latex, json, displays that are updated, output that is cleared, and their order.

    But for javascript, which would act with the rights of whoever looks at the notebook, and is never sent.
    """
    found = ran(home, program, LOCKED, CELLS)
    javascript = found.pop("javascript")
    assert {name: outputs for name, outputs in found.items() if outputs != stock[name]} == {}
    assert all(stock.values())
    assert [list(one["data"]) for one in javascript] == [["text/plain"], ["text/plain"]]
    assert all("application/javascript" in one["data"] for one in stock["javascript"])


def test_frames_figures_and_progress_bars_look_as_on_a_stock_kernel(
    any_module: Home, stock_data: dict[str, list[dict[str, Any]]]
) -> None:
    """With every installed module allowed, inside the same walls; the settings are read from the environment."""
    found = ran(any_module, "nbclient", LOCKED, DATA_CELLS)
    assert {name: outputs for name, outputs in found.items() if outputs != stock_data[name]} == {}
    assert "text/html" in stock_data["frame"][0]["data"]
    assert "image/png" in stock_data["figure"][0]["data"]


def test_a_module_that_the_user_added_may_be_imported(home: Home, stock_data: dict[str, list[dict[str, Any]]]) -> None:
    """By the setting that the refusal names."""
    with_pandas = Home(home.directory, {**home.env, "RLM_IMPORTS": "pandas"})
    found = ran(with_pandas, "nbconvert", LOCKED, {"frame": DATA_CELLS["frame"]})
    assert found["frame"] == stock_data["frame"]


def test_a_notebook_stops_at_the_first_error(home: Home) -> None:
    """As on a stock kernel: the program says so, and the cells after it are not run."""
    home.write("in.ipynb", notebook(["print('one')", "1/0", "print('two')"]))
    done = home.run("jupyter", "execute", "in.ipynb", f"--kernel_name={LOCKED}", "--output=stopped.ipynb")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "two" not in done.stdout + done.stderr
    assert not (home.directory / "stopped.ipynb").exists()


def test_a_file_is_run_without_a_word_of_its_name(home: Home) -> None:
    """`jupyter run FILE` gives the kernel the name as an argument; the kernel has no use for it."""
    home.write("said.py", "print(6 * 7)")
    done = home.run("jupyter", "run", f"--kernel={LOCKED}", "said.py")
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert "said.py" not in done.stderr
