"""The control of the corpus: without walls its attacks reach what they look for, so that it is these that hold them.

Is: each case that looks for a way out, played in a session whose policy has no wall, every module importable. Is not:
what they do behind the walls (`test_corpus.py` and its like).
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.escape.attack_server import AttackServer
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import OWN, end_of
from tests.parts import skip_for_lack_of
from tests.specs import write_spec

CATEGORIES: Final = {"fs-read", "fs-write", "network", "process", "kernel-surface", "introspection", "kernel-integrity"}
OF_THE_MACHINE: Final = {
    *("fsr-dev-nodes", "fsr-handle-at", "proc-raise-limits", "proc-renice", "sys-bpf", "sys-int80", "sys-io-uring"),
    *("sys-keyctl", "sys-mq-open", "sys-swapon", "sys-userfaultfd"),
}
"""Cases that look for what a machine may not have, or may give to nobody, walls or none: its refusal does as well."""
ELSEWHERE: Final = {
    "fsr-own-environ": "a kernel's environment is scrubbed where it is started, walls or none",
    "fsr-proc-parent-environ": "its parent is the fork server, whose environment is scrubbed",
    "fsr-inherited-fds": "a kernel inherits no descriptor, walls or none",
    "fsr-tb-filename-spoof": "tracebacks show no lines of files, walls or none",
    "fsw-deep-dirs": "it is judged by the next session",
    "fsw-home-dotfiles": "it is judged by the next session",
    "fsw-ipython-startup": "it is judged by the next session",
    "fsw-weird-names": "it is judged by the server's own end",
    "in-str-format-leak": "a kernel's environment is scrubbed where it is started, walls or none",
    "krn-own-key-client": "what it sends is judged by the neighbour, who drops it",
    "net-existing-listener": "a kernel has no listener, walls or none",
    "proc-daemonize": "it would outlive the test",
    "sys-tiocsti": "a kernel has no terminal, walls or none",
}
"""Cases that reach nothing without walls either, and why."""
CASES: Final = [case for case in read_corpus() if case.category in CATEGORIES and case.expect == "contain"]


@pytest.fixture(scope="module")
def attack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """A server whose kernels have no wall."""
    if os.getuid() != 0:
        skip_for_lack_of("what root may", "run it as root")
    specs = tmp_path_factory.mktemp("specs")
    write_spec(specs, "bare", {"walls": {"required": [], "wanted": []}})
    made = AttackServer(tmp_path_factory.mktemp("bare"), "any", JUPYTER_PATH=str(specs), RLM_KERNEL="bare")
    assert not any(made.walls.values())
    try:
        yield made
    finally:
        made.close()
        _clean_up(made.run)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.name not in ELSEWHERE], ids=lambda case: case.name)
def test_without_walls_a_case_reaches_what_it_looks_for(attack_server: AttackServer, case: Case) -> None:
    """By its own word, or by what was touched."""
    seen = attack_server.play(case)
    attack_server.renew()
    reached = bool(seen.hits) or any(line.startswith("ESCAPED") for line in seen.printed)
    assert reached or (case.name in OF_THE_MACHINE and end_of(seen).split()[-1] not in OWN), seen.answers


def test_what_has_no_control_is_a_case_with_a_reason() -> None:
    """No name of one that is gone."""
    assert ELSEWHERE.keys() | OF_THE_MACHINE <= {case.name for case in CASES}
    assert not ELSEWHERE.keys() & OF_THE_MACHINE


def _clean_up(run: str) -> None:
    """What `fsw-tmp` and `fsw-site-packages` have written."""
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
        Path(place, f"sbx-{run}").unlink(missing_ok=True)
    library = Path(os.__file__).parent
    for directory in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), library / "__pycache__"):
        Path(directory, f"sbx_{run}.probe").unlink(missing_ok=True)
