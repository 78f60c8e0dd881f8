"""What a container engine is asked, and what a person is told when it cannot serve: pure functions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime, Mounts
from rlm_kernel_mcp.kernel_code import PACKAGE, kernel_side
from rlm_kernel_mcp.policy import Limits
from tests.parts import ROOT

LIMITS = Limits(
    memory_mb=1024,
    step_cpu_s=600,
    open_files=256,
    threads=128,
    scratch_mb=64,
    scratch_files=4096,
    output_chars_per_step=100_000,
)
MOUNTS = Mounts("rlm-a-b", "/run/a", "/run/a/b/c", "/run/a/b/w")
RUNTIMES = [ContainerRuntime(name, f"/usr/bin/{name}", "image:1", "9.9") for name in ("docker", "podman")]
by_runtime = pytest.mark.parametrize("runtime", RUNTIMES, ids=[runtime.name for runtime in RUNTIMES])


def argv(runtime: ContainerRuntime, limits: Limits = LIMITS) -> list[str]:
    return container.run_argv(runtime, MOUNTS, limits, {"HOME": "/run/a/b/w"}, ["-f", "/run/a/b/c/kernel.json"])


def options(runtime: ContainerRuntime, limits: Limits = LIMITS) -> list[str]:
    """The options of `run` with their values, as `--name value`."""
    found = argv(runtime, limits)
    found = found[: found.index("image:1")]
    return [f"{one} {other}" for one, other in pairwise(found)] + found


@by_runtime
@pytest.mark.parametrize(
    "option",
    [
        "--network none",
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--user 65532:65532",
        "--pids-limit 130",
        "--cpus 1",
        "--ipc private",
        "--log-driver none",
        "--pull never",
        "--rm",
        "--ulimit core=0:0",
        "--ulimit nofile=256:256",
        "--volume /run/a/b/c:/run/a/b/c:rw",
        "--label rlm-kernel-mcp.run-dir=/run/a",
    ],
)
def test_a_container_is_started_with_every_wall_that_the_engine_has(runtime: ContainerRuntime, option: str) -> None:
    """One missing option is a hole that no other test may be there to see."""
    assert option in options(runtime)


@by_runtime
def test_nothing_of_the_host_is_mounted_but_the_sockets(runtime: ContainerRuntime) -> None:
    """No other volume, no device, no privilege, no namespace of the host's."""
    found = argv(runtime)
    assert found.count("--volume") == 1
    for forbidden in ("--mount", "-v", "--device", "--privileged", "--cap-add", "--pid", "--userns", "--env-file"):
        assert forbidden not in found
    assert "host" not in found


@by_runtime
def test_the_engine_s_memory_limit_comes_after_the_kernel_s_own(runtime: ContainerRuntime) -> None:
    """The engine ends a container for good; a step can catch the kernel's MemoryError. No swap on top."""
    assert container.memory_mb(LIMITS) > LIMITS.memory_mb + 128 + LIMITS.scratch_mb
    found = options(runtime)
    assert f"--memory {container.memory_mb(LIMITS)}m" in found
    assert f"--memory-swap {container.memory_mb(LIMITS)}m" in found


def test_what_a_policy_grants_its_libraries_is_granted_by_the_engine_too() -> None:
    """Else one that is imported at first use would end a container whose kernel has room for it."""
    assert container.memory_mb(LIMITS.model_copy(update={"libraries_mb": 384})) == container.memory_mb(LIMITS) + 384


@by_runtime
def test_both_tmpfs_are_bounded(runtime: ContainerRuntime) -> None:
    """/tmp and the scratch directory, in bytes; in files too where the engine can."""
    files = {"docker": ",nr_inodes=1024", "podman": ""}[runtime.name]
    assert f"--tmpfs /tmp:rw,nosuid,nodev,noexec,size=16m,mode=1777{files}" in options(runtime)
    files = {"docker": ",nr_inodes=4096", "podman": ""}[runtime.name]
    assert f"--tmpfs /run/a/b/w:rw,nosuid,nodev,noexec,size=64m,mode=1777{files}" in options(runtime)


@by_runtime
def test_a_scratch_of_no_bytes_is_read_only(runtime: ContainerRuntime) -> None:
    """0 MB means that nothing may be written."""
    found = options(runtime, LIMITS.model_copy(update={"scratch_mb": 0}))
    assert any(option.startswith("--tmpfs /run/a/b/w:ro,") for option in found)


@by_runtime
def test_the_kernel_is_started_by_its_module_whatever_the_image_would_start(runtime: ContainerRuntime) -> None:
    """The image's own entry point and command do not matter."""
    assert "--entrypoint python3" in options(runtime)
    found = argv(runtime)
    tail = found[found.index("image:1") + 1 :]
    assert tail == ["-I", "-m", "rlm_kernel_mcp.in_kernel", "-f", "/run/a/b/c/kernel.json"]


def test_the_host_s_proxies_and_their_passwords_stay_outside() -> None:
    """Both engines put them into containers unasked: docker from its configuration, podman from the environment."""
    docker, podman = (argv(runtime) for runtime in RUNTIMES)
    assert {"HTTP_PROXY=", "https_proxy=", "ALL_PROXY=", "no_proxy="} <= set(docker)
    assert "--http-proxy=false" in podman


def test_what_only_podman_knows_is_not_asked_of_docker() -> None:
    """An unknown option would be an error."""
    docker, podman = (argv(runtime) for runtime in RUNTIMES)
    only = {"--no-hosts", "--read-only-tmpfs=false", "--http-proxy=false"}
    assert only <= set(podman)
    assert not only & set(docker)
    assert container.remove_argv("docker", "d", ["x"]) == ["d", "rm", "--force", "--volumes", "x"]
    assert container.remove_argv("podman", "p", ["x"]) == ["p", "rm", "--force", "--volumes", "--time", "0", "x"]
    ignoring = ["p", "rm", "--force", "--volumes", "--ignore", "--time", "0", "x"]
    assert container.remove_argv("podman", "p", ["x"], some_gone=True) == ignoring
    assert "--ignore" not in container.remove_argv("docker", "d", ["x"], some_gone=True)


def test_docker_is_asked_for_its_daemon_s_version() -> None:
    """The client alone starts nothing."""
    assert container.version_argv("docker", "d") == ["d", "version", "--format", "{{.Server.Version}}"]
    assert container.version_argv("podman", "p") == ["p", "version", "--format", "{{.Client.Version}}"]


def test_a_server_s_containers_are_found_by_label_and_never_by_name() -> None:
    """A name may be anybody's."""
    found = container.list_argv("p", "/run/a")
    assert "label=rlm-kernel-mcp.run-dir=/run/a" in found
    assert not any(word.startswith("name=") for word in found)


REFUSALS: dict[str, tuple[Callable[[], SandboxUnavailable], str, str]] = {
    "runtime missing": (
        lambda: container.runtime_missing("podman"),
        "'podman' (RLM_SANDBOX_CONTAINER_RUNTIME) is not on the PATH",
        "`apt-get install podman`",
    ),
    "daemon unreachable": (lambda: container.runtime_unreachable("docker"), "does not answer", "`docker version`"),
    "image missing": (
        lambda: container.image_missing("podman", "rlm-kernel:latest"),
        "no image 'rlm-kernel:latest'",
        "`bin/build-image --runtime podman`",
    ),
    "another image missing": (
        lambda: container.image_missing("docker", "mine:2"),
        "no image 'mine:2'",
        "`bin/build-image --runtime docker --image mine:2`",
    ),
    "image of another version": (
        lambda: container.image_outdated("docker", "rlm-kernel:latest", "0123"),
        "another version's kernel code (0123; here ",
        "`bin/build-image --runtime docker`",
    ),
    "image of something else": (
        lambda: container.image_outdated("docker", "nginx", None),
        "'nginx' holds no rlm-kernel-mcp kernel",
        "`bin/build-image --runtime docker --image nginx`",
    ),
    "not Linux": (lambda: container.unfit_system("darwin"), "needs Linux, and this is darwin", "Linux container"),
    "did not start": (lambda: container.run_failed(RUNTIMES[1], 125), "podman 9.9 could not start", "log"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_missing_part_is_named_with_the_command_that_brings_it(case: str) -> None:
    """The message says what, the next step how."""
    make, message, next_step = REFUSALS[case]
    error = make()
    assert message in error.message
    assert next_step in error.next_step


def test_a_fallback_says_in_the_walls_that_the_container_is_not_there_and_why() -> None:
    """Never silently."""
    row = container.fallback_row(container.runtime_missing("docker"))
    assert (row["name"], row["holds"]) == ("container", False)
    assert "'docker'" in row["detail"]
    assert "RLM_SANDBOX_FALLBACK=process" in row["detail"]
    assert "bin/build-image" in row["remedy"]


def test_what_a_kernel_found_around_it_gets_the_engine_s_name_and_version() -> None:
    """The row is the kernel's; other rows stay as they are."""
    rows = [
        {"name": "container", "holds": True, "detail": "130 pids"},
        {"name": "seccomp", "holds": True, "detail": "x"},
    ]
    named = container.with_runtime(RUNTIMES[0], rows)
    assert [row["detail"] for row in named] == ["docker 9.9: 130 pids", "x"]


def test_the_kernel_code_s_hash_covers_what_runs_inside_and_nothing_else() -> None:
    """An image is refused when it holds other code; a change of the host's side rebuilds nothing."""
    names = {path.relative_to(PACKAGE).as_posix() for path in kernel_side(PACKAGE)}
    assert {"__init__.py", "wire.py", "in_kernel/launch.py", "in_kernel/walls/syscalls.json"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "__init__.py",
        "both_sides",
        "kernel_code.py",
        "context_wire.py",
        "questions_wire.py",
        "units.py",
        "wire.py",
        "in_kernel",
    }


def test_the_default_image_is_the_one_that_the_build_command_makes() -> None:
    """Settings, builder and messages name one image."""
    from rlm_kernel_mcp.settings import load_settings
    from rlm_kernel_mcp.variables.table import TABLE

    (row,) = (row for row in TABLE if row.variable == "RLM_SANDBOX_CONTAINER_IMAGE")
    assert load_settings(Path.cwd(), {}).container_image == row.default == "rlm-kernel:latest"
    assert container.build_command("docker", row.default) == "bin/build-image --runtime docker"


def test_the_recipe_copies_the_kernel_s_side_and_ends_as_an_ordinary_user() -> None:
    """What the builder lays out is what the recipe takes."""
    recipe = (ROOT / "containers" / "Containerfile").read_text()
    assert "--constraint /build/constraints.txt --requirement /build/requirements.txt" in recipe
    assert "mv /build/rlm_kernel_mcp" in recipe
    assert recipe.rstrip().endswith(f"USER {container.USER}")
