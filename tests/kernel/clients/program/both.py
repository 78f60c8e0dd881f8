"""Starts kernels of one kernelspec in two worlds, ours and a foreign client's, and says what each is like from inside.

`python both.py SPEC`: SPEC is JSON: `kernels` (directory of kernelspecs), `name`, `foreign` (connection files),
`places` (paths) and `calls` (system calls) that each tries, `look` (the code that does). Prints a line of JSON a
kernel: `[world, pid, directory, seen]`, and ends with its input; the kernels live until then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.kernel.placement.provisioner import RlmProvisioner
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.starter import KernelStarter
from rlm_kernel_mcp.settings import load_settings

WAIT_S = 60


async def look(client: AsyncKernelClient, spec: dict[str, Any]) -> tuple[str, str]:
    """The kernel's own directory, and what it sees."""
    client.start_channels()
    await client.wait_for_ready(timeout=WAIT_S)
    said: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])

    own = ("", "/w", "/c", "/c/kernel.json", "/c/s-1", "/c/policy.json")
    places = f"PLACES = [*(os.path.dirname(scratch) + place for place in {own}), *{spec['places']!r}]"
    code = (
        f"import os\n{places}\nCALLS = {spec['calls']!r}\n{spec['look']}\nprint(os.path.dirname(scratch)); print(seen)"
    )
    reply = await client.execute_interactive(code, timeout=WAIT_S, allow_stdin=False, output_hook=collect)
    client.stop_channels()
    assert reply["content"]["status"] == "ok", reply["content"]
    directory, seen = "".join(said).splitlines()
    return directory, seen


async def main(spec: dict[str, Any]) -> None:
    """One kernel of ours, one for each connection file of a foreign client."""
    os.environ["JUPYTER_PATH"] = str(Path(spec["kernels"]).parent)
    os.environ["RLM_IMPORT_POLICY"] = "any"
    run_dir = RunDir.create()
    # Nobody answers what a foreign client's kernel asks, and so it has nothing that checks answers.
    environ = {**os.environ, "RLM_KERNEL": spec["name"], "RLM_SUBCALL_BACKEND": "none"}
    starter = KernelStarter(load_settings(Path.cwd(), environ), run_dir)
    kernel = await starter.start()
    client = AsyncKernelClient(connection_file=str(kernel.directories.connection_file))
    client.load_connection_file()
    managers = []
    for connection_file in spec["foreign"]:
        specs = KernelSpecManager(kernel_dirs=[spec["kernels"]], ensure_native_kernel=False)
        manager = AsyncKernelManager(
            kernel_name=spec["name"], kernel_spec_manager=specs, connection_file=connection_file
        )
        await manager.start_kernel()
        managers.append(manager)
    # Only now, when what each may come across is there.
    print(json.dumps(["ours", kernel.process.pid, *await look(client, spec)]), flush=True)
    for manager in managers:
        assert isinstance(manager.provisioner, RlmProvisioner)
        seen = await look(manager.client(), spec)
        print(json.dumps([manager.connection_file, manager.provisioner.pid, *seen]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for manager in managers:
        await manager.shutdown_kernel(now=True)
    await kernel.kill()
    starter.close()
    run_dir.remove()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
