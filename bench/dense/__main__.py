"""`bin/bench-dense`: questions whose answers need all of a long text, with exact scores.

--program   seeded tasks answered by fixed programs in the kernel, with a script in the model's place: everything has to
            be exact. Without further options it writes bench/DENSE.md.
--agent     the tasks given to an agent of yours: `loop`, a model behind an OpenAI-compatible endpoint (OPENAI_BASE_URL,
            OPENAI_API_KEY) in a small loop, or `codex`. With --real: a published benchmark and its official scorer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from bench import report as machine_report
from bench.dense import program, real, report
from bench.dense.agents.codex import Codex
from bench.dense.agents.evaluation import Prices, Result, Subcalls, dollars_of, evaluate
from bench.dense.agents.job import Agent, Missing
from bench.dense.agents.loop import Loop
from bench.dense.tasks import Paper

RESULTS = Path(__file__).resolve().parent.parent / "DENSE.md"
SHORTEST, LONGEST = 13, 20


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    made = argparse.ArgumentParser(
        prog="bin/bench-dense", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = made.add_mutually_exclusive_group(required=True)
    mode.add_argument("--program", action="store_true", help="fixed programs and a scripted answerer")
    mode.add_argument("--agent", choices=("loop", "codex"), help="who is given the tasks")
    made.add_argument("--json", metavar="FILE", type=Path, help="also write every text or task as a line of JSON")
    seeded = made.add_argument_group("seeded tasks")
    seeded.add_argument("--family", action="append", choices=list(program.FAMILIES), help="only these (default: all)")
    seeded.add_argument("--lengths", type=_lengths, default=None, metavar="FROM[-TO]",
                        help=f"powers of two, in tokens of 4 characters: {SHORTEST} to {LONGEST} (default: all of them "
                        "for --program, 15 for --agent)")  # fmt: skip
    seeded.add_argument("--seeds", type=_positive, default=None, metavar="N",
                        help="texts of each family and length (default: 3 for --program, 1 for --agent)")  # fmt: skip
    agent = made.add_argument_group("with --agent")
    agent.add_argument("--real", choices=list(real.SOURCES), help="a published benchmark in place of the seeded tasks")
    agent.add_argument("--file", type=Path, metavar="JSONL", help="its rows from a file, not from the hub")
    agent.add_argument("--tokens", type=_positive, metavar="N", help="of --real: the length that is taken")
    agent.add_argument("--tasks", type=_positive, metavar="N", help="at most so many tasks")
    agent.add_argument("--model", help="the agent's (for codex: its own default)")
    agent.add_argument("--sub-calls", choices=("openai", "agent", "none"), default="openai",
                       help="who answers what code asks: the endpoint, the agent itself, or nobody")  # fmt: skip
    agent.add_argument("--sub-model", help="of the endpoint for sub-calls (default: --model)")
    agent.add_argument("--price", type=_price, metavar="IN,OUT", help="dollars a million tokens of the model")
    agent.add_argument("--sub-price", type=_price, metavar="IN,OUT", help="the same of the model for sub-calls")
    agent.add_argument("--codex", default="codex", metavar="BINARY", help="default: codex, on PATH")
    return made


def main() -> int:
    """1 where a program's answer is not exact; an agent's score is a finding, whatever it is."""
    made = parser()
    asked = made.parse_args()
    try:
        if asked.program:
            with _lines(asked.json) as tell:
                return _program(asked, tell)
        if asked.agent == "loop" and not asked.model:
            made.error("--agent loop needs --model")
        if asked.sub_calls == "openai" and not (asked.sub_model or asked.model):
            made.error("--sub-calls openai needs --sub-model, or --model")
        with _lines(asked.json) as tell:
            return _agent(asked, tell)
    except Missing as missing:
        print(f"bin/bench-dense: {missing}", file=sys.stderr)
        return 2


def _program(asked: argparse.Namespace, tell: Callable[[str], None]) -> int:
    done = []
    with program.server() as client:
        for paper in _papers(asked, (SHORTEST, LONGEST), seeds=3):
            ran = program.run(client, paper)
            done.append(ran)
            tell(report.program_json(ran))
            wrong = [kind for kind, score in ran.scores.items() if score != 1]
            print(f"{paper.name}: {'exact' if not wrong else f'NOT EXACT: {wrong}'}", file=sys.stderr, flush=True)
    print(f"Who answers is {program.ANSWERER}.\n")
    print(report.table(report.PROGRAM_HEADINGS, report.program_rows(done)))
    if not (asked.family or asked.lengths or asked.seeds):
        facts = (machine_report.now(), machine_report.versions())
        RESULTS.write_text(report.program_markdown(done, facts), encoding="utf-8")
        print(f"\nwritten: bench/{RESULTS.name}")
    return int(any(score != 1 for ran in done for score in ran.scores.values()))


def _agent(asked: argparse.Namespace, tell: Callable[[str], None]) -> int:
    agent: Agent = Loop(asked.model) if asked.agent == "loop" else Codex(asked.model, asked.codex)
    subcalls = Subcalls(asked.sub_calls, asked.sub_model or asked.model or "")
    prices: dict[str, Prices | None] = {"model": asked.price, "sub_model": asked.sub_price or asked.price}
    if asked.real:
        papers = list(_first(real.papers_of(asked.real, tokens=asked.tokens, file=asked.file), asked.tasks))
    else:
        papers = list(_first(_papers(asked, (15, 15), seeds=1), asked.tasks))
    results = list[Result]()
    for result in islice(evaluate(agent, papers, subcalls), asked.tasks):
        results.append(result)
        tell(report.result_json(result, dollars_of(result, prices)))
        print(f"{result.paper}, {result.kind}: {result.score:.3f} {result.used.failure}", file=sys.stderr, flush=True)
    for name in [asked.real] if asked.real else dict.fromkeys(paper.family for paper in papers):
        own = [one for one in results if asked.real or any(p.family == name and p.name == one.paper for p in papers)]
        label = name if asked.real else f"{name} (seeded, ours)"
        print(report.agent_text(report.agent_summary(label, agent.name, own, prices), own) + "\n")
    return 0


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[str], None]]:
    """What writes a line at once, since a run may be ended before its end; nothing without a file.

    Raises:
        Missing: the file cannot be written, which is found before anything is paid for.
    """
    if path is None:
        yield lambda line: None
        return
    try:
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise Missing(f"{path} cannot be written ({error.strerror}); give --json another file.") from error
    with file:
        yield lambda line: print(line, file=file)


def _papers(asked: argparse.Namespace, lengths: tuple[int, int], seeds: int) -> Iterator[Paper]:
    first, last = asked.lengths or lengths
    for name in asked.family or program.FAMILIES:
        family = program.FAMILIES[name]
        for power in range(first, last + 1):
            if 1 << power > family.tokens_most:
                continue
            for seed in range(1, (asked.seeds or seeds) + 1):
                yield family.paper(1 << power, seed)


def _first(papers: Iterator[Paper], tasks: int | None) -> Iterator[Paper]:
    """As many as have so many tasks; a benchmark that is streamed is read no further."""
    count = 0
    for paper in papers:
        yield paper
        count += len(paper.tasks)
        if tasks is not None and count >= tasks:
            return


def _lengths(words: str) -> tuple[int, int]:
    first, _, last = words.partition("-")
    found = int(first), int(last or first)
    if not SHORTEST <= found[0] <= found[1] <= LONGEST:
        raise argparse.ArgumentTypeError(f"{words}: from {SHORTEST} to {LONGEST}, such as 13-16")
    return found


def _positive(words: str) -> int:
    if int(words) < 1:
        raise argparse.ArgumentTypeError(f"{words}: at least 1")
    return int(words)


def _price(words: str) -> Prices:
    into, out = words.split(",")
    return float(into), float(out)


if __name__ == "__main__":
    sys.exit(main())
