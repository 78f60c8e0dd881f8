"""A kernel with numpy and pandas against the plain one, both by the Python of `bin/setup --with data`."""

from __future__ import annotations

from bench.bars.sessions import open_and_finalize
from bench.bars.steps import our_step
from bench.measure import Amounts, Bar, Row, interleave
from bench.processes import settle
from bench.sides.ours import OurServer, our_server
from tests.parts import ROOT

PYTHON = ROOT / ".venv-data" / "bin" / "python"
SERVE = (str(PYTHON), "-I", "-m", "rlm_kernel_mcp", "serve")
PLAIN = "it is in one of `rlm-python`"
TRIVIAL = "a step of `1+1` is"
TABLE = "import pandas as pd\nframe = pd.DataFrame({'a': range(1_000), 'b': 1.5})\nframe"


async def step_data(amounts: Amounts) -> list[Row]:
    """A step, one that shows a table, and the start of a session while a spare kernel is ready."""
    if not PYTHON.exists():
        raise RuntimeError("numpy and pandas are missing; this brings them: bin/setup --with data")
    with our_server({"RLM_KERNEL": "rlm-python-data"}, SERVE) as data, our_server(None, SERVE) as other:
        sides = [our_step(server, server.open_session()) for server in (data, other)]
        step, stock = await interleave(sides, amounts.times(300), warm_up=amounts.times(20))
        session_id = data.open_session()
        sides = [our_step(data, session_id, TABLE), our_step(data, session_id)]
        table, trivial = await interleave(sides, amounts.times(60), warm_up=amounts.times(3))

        async def opened(server: OurServer) -> float:
            await settle(server.pid)
            return await open_and_finalize(server)

        sides = [lambda: opened(data), lambda: opened(other)]
        start, stock_start = await interleave(sides, amounts.times(15), warm_up=amounts.times(1))
    what = "`rlm_init_context` opens a session of `rlm-python-data` while a spare kernel is ready"
    return [
        Row("a step of `1+1` is answered in a session of `rlm-python-data`", step, PLAIN, stock, bar=Bar(1.1)),
        Row("a step that shows a DataFrame is answered in a session of `rlm-python-data`", table, TRIVIAL, trivial),
        Row(what, start, "it opens one of `rlm-python`", stock_start, bar=Bar(1.2)),
    ]
