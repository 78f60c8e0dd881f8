"""A container engine is probed before it is used, and what is missing is told apart. The engines are false ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from rlm_kernel_mcp.errors import InvalidInput, KernelStartFailed, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container import runtime as container_runtime
from rlm_kernel_mcp.kernel.placement.container import sweep as container_sweep
from rlm_kernel_mcp.kernel.placement.container.arguments import CODE_LABEL, ContainerRuntime
from rlm_kernel_mcp.kernel.placement.container.launch import visible_pid
from rlm_kernel_mcp.kernel.placement.container.runtime import Containers
from rlm_kernel_mcp.kernel.placement.container.sweep import remember_runtime, without_containers
from rlm_kernel_mcp.kernel.placement.run_dir import LOCK_NAME, sweep
from rlm_kernel_mcp.kernel_code import kernel_code
from rlm_kernel_mcp.settings import Settings, load_settings

pytestmark = pytest.mark.anyio


class FalseEngine:
    """A podman of a few shell lines that answers as told and writes down what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "podman"
        self.record = directory / "asked"
        self.answers: dict[str, tuple[int, str]] = {
            "version": (0, "9.9"),
            "image": (0, "null"),
            "ps": (0, ""),
            "rm": (0, ""),
        }

    def write(self) -> None:
        lines = ["#!/bin/sh", f'printf "%s\\n" "$*" >>{self.record}']
        for command, (status, text) in self.answers.items():
            lines.append(f"[ \"$1\" = {command} ] && {{ printf '%s\\n' '{text}'; exit {status}; }}")
        self.program.write_text("\n".join([*lines, "exit 99"]))
        self.program.chmod(0o755)

    def asked(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FalseEngine:
    """A false podman, alone on the PATH once it is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return FalseEngine(tmp_path)


def settings(**values: str) -> Settings:
    return load_settings(
        Path.cwd(), {"RLM_SANDBOX_MODE": "container", "RLM_SANDBOX_CONTAINER_RUNTIME": "podman", **values}
    )


def labels(code: str) -> tuple[int, str]:
    return 0, json.dumps({CODE_LABEL: code})


async def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the user set."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SandboxUnavailable, match=r"'podman'.* not on the PATH"):
        await container_runtime.find_runtime(settings())


async def test_an_engine_that_does_not_answer_is_not_taken_for_one_without_the_image(engine: FalseEngine) -> None:
    """Both questions fail then; the first is what matters."""
    engine.answers |= {"version": (1, ""), "image": (1, "")}
    engine.write()
    with pytest.raises(SandboxUnavailable, match="does not answer"):
        await container_runtime.find_runtime(settings())


async def test_an_image_that_is_not_there_is_named_with_the_command_that_builds_it(engine: FalseEngine) -> None:
    """The very command, with the runtime that the user set."""
    engine.answers["image"] = (1, "")
    engine.write()
    with pytest.raises(SandboxUnavailable, match="no image 'rlm-kernel:latest'") as refused:
        await container_runtime.find_runtime(settings())
    assert "`bin/build-image --runtime podman`" in refused.value.next_step


@pytest.mark.parametrize(("answer", "words"), [(labels("0000"), "another version"), ((0, "null"), "no rlm-kernel-mcp")])
async def test_an_image_of_other_code_is_refused(engine: FalseEngine, answer: tuple[int, str], words: str) -> None:
    """Host and kernel must be of one version; an image of something else has no label at all."""
    engine.answers["image"] = answer
    engine.write()
    with pytest.raises(SandboxUnavailable, match=words):
        await container_runtime.find_runtime(settings())


async def test_an_engine_that_serves_is_found_with_its_version(engine: FalseEngine) -> None:
    """And nothing is started."""
    engine.answers["image"] = labels(kernel_code())
    engine.write()
    found = await container_runtime.find_runtime(settings())
    assert found == ContainerRuntime("podman", str(engine.program), "rlm-kernel:latest", "9.9")
    assert {line.split()[0] for line in engine.asked()} == {"version", "image"}


async def test_an_engine_that_was_missing_is_asked_again_for_the_next_kernel(
    engine: FalseEngine, tmp_path: Path
) -> None:
    """The user mends it and goes on, without a restart of the server."""
    containers = Containers(settings(), tmp_path)
    with pytest.raises(SandboxUnavailable):
        await containers.ready_runtime()
    engine.answers["image"] = labels(kernel_code())
    engine.write()
    assert (await containers.ready_runtime()).version == "9.9"
    containers.close()


def test_a_fallback_is_said_in_the_log_and_in_a_row_of_the_walls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what is missing and what mends it."""
    why = container.runtime_missing("podman")
    row = Containers(settings(RLM_SANDBOX_FALLBACK="process"), tmp_path).fallback(why)
    (line,) = (record.getMessage() for record in caplog.records)
    assert "RLM_SANDBOX_FALLBACK=process is used" in line
    assert "bin/build-image --runtime podman" in line
    assert (row["name"], row["holds"]) == ("container", False)


def test_where_no_fallback_is_allowed_what_is_missing_stays_an_error(tmp_path: Path) -> None:
    """Fail closed."""
    with pytest.raises(SandboxUnavailable):
        Containers(settings(), tmp_path).fallback(container.runtime_missing("podman"))


def test_a_kernel_is_known_by_its_pidfd_and_one_that_has_ended_has_no_number() -> None:
    """Neither 0 nor -1 may be taken for a number: they mean the caller to prlimit(2) and to the clocks."""
    child = subprocess.Popen(["/bin/true"])
    pidfd = os.pidfd_open(child.pid)
    assert visible_pid(pidfd) == child.pid
    child.wait()
    with pytest.raises(KernelStartFailed, match="ended before it was ready"):
        visible_pid(pidfd)


def run_dir(tmp_path: Path, program: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    remember_runtime(directory, ContainerRuntime("podman", str(program), "image:1", "9.9"))
    return directory


def test_a_dead_server_s_containers_are_removed_by_their_label(engine: FalseEngine, tmp_path: Path) -> None:
    """Exactly those that the engine lists for its run directory."""
    engine.answers["ps"] = (0, "c1")
    engine.write()
    directory = run_dir(tmp_path, engine.program)
    assert without_containers([directory]) == [directory]
    listing, removal = engine.asked()
    assert listing.endswith(f"label=rlm-kernel-mcp.run-dir={directory}")
    assert removal == "rm --force --volumes --ignore --time 0 c1"


def test_what_an_engine_cannot_remove_at_once_is_removed_at_a_further_try(
    engine: FalseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's removal may be under way, and podman can neither list nor remove meanwhile."""
    monkeypatch.setattr(container_sweep, "ASK_AGAIN_S", 0.0)
    engine.program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$1" >>{engine.record}\n'
        f"[ -e {engine.record}.$1 ] || {{ : >{engine.record}.$1; exit 125; }}\n"
        'case "$1" in ps) echo c1;; esac\n'
    )
    engine.program.chmod(0o755)
    directory = run_dir(tmp_path, engine.program)
    assert without_containers([directory]) == [directory]
    assert engine.asked() == ["ps", "ps", "rm", "ps", "rm"]


def test_nothing_is_removed_where_nothing_is_left(engine: FalseEngine, tmp_path: Path) -> None:
    """`rm` without a name is an error of the engine's."""
    engine.write()
    directory = run_dir(tmp_path, engine.program)
    assert without_containers([directory]) == [directory]
    assert len(engine.asked()) == 1


def test_a_folder_whose_engine_does_not_answer_is_kept_for_the_next_start(engine: FalseEngine, tmp_path: Path) -> None:
    """With the directory would go the only record of whose containers they are."""
    engine.answers["ps"] = (1, "")
    engine.write()
    assert without_containers([run_dir(tmp_path, engine.program)]) == []


def test_a_folder_without_containers_or_engine_is_free(tmp_path: Path) -> None:
    """A server in process mode, one that was killed while it wrote the record, an engine that was uninstalled."""
    directory = run_dir(tmp_path, tmp_path / "gone")
    assert without_containers([tmp_path, directory]) == [tmp_path, directory]
    for record in ('{"na', "[]", "7", '{"name": 1, "program": []}', "\udcff"):
        (directory / "container-runtime.json").write_text(record, errors="surrogateescape")
        assert without_containers([directory]) == [directory]


async def test_an_engine_that_hangs_is_waited_for_once_by_all_who_ask(
    engine: FalseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spare kernel and the first session wait together; the next session is answered without a wait."""
    monkeypatch.setattr(container_runtime, "ANSWER_S", 0.2)
    engine.program.write_text(f"#!/bin/sh\necho $$ >>{engine.record}\nexec /bin/sleep 600\n")
    engine.program.chmod(0o755)
    containers = Containers(settings(), tmp_path)
    refusals = await asyncio.gather(*(containers.ready_runtime() for _ in range(5)), return_exceptions=True)
    refusals += await asyncio.gather(containers.ready_runtime(), return_exceptions=True)
    assert ["does not answer" in str(refusal) for refusal in refusals] == [True] * 6
    asked = [int(line) for line in engine.asked()]
    assert len(asked) == 2  # its version and the image
    assert not any(psutil.pid_exists(pid) for pid in asked)
    containers.close()


@pytest.mark.parametrize("answer", ["usage: podman image inspect", "[1]", "7", '{"rlm-kernel-mcp.kernel-code": 7}'])
async def test_an_engine_that_answers_with_something_else_has_no_image_of_ours(
    engine: FalseEngine, answer: str
) -> None:
    """And that is an error of the contract."""
    engine.answers["image"] = (0, answer)
    engine.write()
    with pytest.raises(SandboxUnavailable, match="no rlm-kernel-mcp kernel"):
        await container_runtime.find_runtime(settings())


async def test_an_engine_that_cannot_be_run_is_one_that_does_not_answer(engine: FalseEngine) -> None:
    """A file of another machine's, or a script without an interpreter."""
    engine.program.write_text("#!/no/such/interpreter\n")
    engine.program.chmod(0o755)
    with pytest.raises(SandboxUnavailable, match="does not answer"):
        await container_runtime.find_runtime(settings())


@pytest.mark.parametrize("name", ["--help", "-q", "a b", "a;b", "", "x\n"])
def test_an_image_s_name_is_no_option_of_the_engine(name: str) -> None:
    """Refused at the start, with what a name looks like; an empty setting is none."""
    if name:
        with pytest.raises(InvalidInput, match="is not the name of an image"):
            settings(RLM_SANDBOX_CONTAINER_IMAGE=name)
    else:
        assert settings(RLM_SANDBOX_CONTAINER_IMAGE=name).container_image == "rlm-kernel:latest"


def test_an_engine_that_hangs_costs_a_start_one_bounded_wait_however_many_folders_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each engine is asked at the same time; one that hangs keeps its directories, another's are free."""
    monkeypatch.setattr(container_sweep, "ENGINE_S", 1.0)  # within which the other answers, on a busy machine too
    hung, fine = tmp_path / "hung", tmp_path / "fine"
    hung.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/asked\nexec /bin/sleep 600\n")
    fine.write_text("#!/bin/sh\n")
    directories: dict[str, list[Path]] = {"hung": [], "fine": []}
    for program in (hung, fine):
        program.chmod(0o755)
        for number in range(20):
            directory = tmp_path / f"{program.name}-{number}"
            directory.mkdir()
            remember_runtime(directory, ContainerRuntime("podman", str(program), "image:1", "9.9"))
            directories[program.name].append(directory)
    assert without_containers(directories["hung"] + directories["fine"]) == directories["fine"]
    asked = [int(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert len(asked) == 1
    assert not psutil.pid_exists(asked[0])


def test_no_engine_is_asked_in_process_mode(engine: FalseEngine, tmp_path: Path) -> None:
    """What a server in container mode left is swept by the next one of that mode."""
    engine.write()
    directory = run_dir(tmp_path, engine.program)
    (directory / LOCK_NAME).touch()
    assert sweep(tmp_path) == []
    assert engine.asked() == []
    assert sweep(tmp_path, ask_engines=True) == [directory]
    assert not directory.exists()
