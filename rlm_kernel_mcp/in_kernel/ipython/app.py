"""The kernel application: IPython's, without what opens a hole or costs a start.

Is: sockets, streams and the kernel object of one session. Is not: a wall (`walls/`), though it leaves out the one
listener and the one connection that the walls would refuse. Above: `in_kernel/launch.py`. Below: `kernel.py`.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq
from ipykernel.heartbeat import Heartbeat
from ipykernel.kernelapp import IPKernelApp
from IPython.core.profiledir import ProfileDir
from traitlets import DottedObjectName, Type

from rlm_kernel_mcp.in_kernel.asking.state import use_steps
from rlm_kernel_mcp.in_kernel.channels.audience import Audience
from rlm_kernel_mcp.in_kernel.channels.control_loop import control_loop
from rlm_kernel_mcp.in_kernel.channels.iopub import SparingIOPubThread
from rlm_kernel_mcp.in_kernel.channels.output import BudgetedOutStream
from rlm_kernel_mcp.in_kernel.channels.sparing_session import SparingSession
from rlm_kernel_mcp.in_kernel.channels.threads import SwitchInterval, note_parents
from rlm_kernel_mcp.in_kernel.channels.whole_socket import WholeSocket
from rlm_kernel_mcp.in_kernel.courtesies.hints import install_os_system
from rlm_kernel_mcp.in_kernel.courtesies.imports import install_import_policy
from rlm_kernel_mcp.in_kernel.courtesies.magics import install_magic_policy
from rlm_kernel_mcp.in_kernel.courtesies.running_loop import install_asyncio_run
from rlm_kernel_mcp.in_kernel.courtesies.unawaited import install_unawaited
from rlm_kernel_mcp.in_kernel.display_text.source_locations import StepCompiler
from rlm_kernel_mcp.in_kernel.display_text.stderr_hooks import install_notices
from rlm_kernel_mcp.in_kernel.ipython.garbage import Garbage
from rlm_kernel_mcp.in_kernel.ipython.kernel import RlmKernel
from rlm_kernel_mcp.in_kernel.ipython.process_state import ProcessState
from rlm_kernel_mcp.in_kernel.ipython.shell import RlmShell, shell_config
from rlm_kernel_mcp.in_kernel.namespace import offered
from rlm_kernel_mcp.in_kernel.snapshots.pickling import use_namespace
from rlm_kernel_mcp.in_kernel.snapshots.taking import NamespaceSnapshots


class NoProfileDir(ProfileDir):
    """A profile directory that is never made: a session has no profile, history or start-up files."""

    def check_dirs(self) -> None:
        """Make nothing."""

    def _location_changed(self, change: Any) -> None:
        del change


class BoundHeartbeat(Heartbeat):
    """ipykernel's, bound when it is made: its thread may start after lock B, which allows no bind any more."""

    def __init__(self, context: zmq.Context[Any], address: tuple[str, str, int]) -> None:
        super().__init__(context, address)
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 1000
        self._bind_socket()

    def run(self) -> None:
        """Send back whatever comes, until the context ends."""
        while True:
            try:
                zmq.device(zmq.QUEUE, self.socket, self.socket)
            except zmq.ZMQError as error:
                if error.errno != errno.EINTR:
                    return


class RlmKernelApp(IPKernelApp):
    """The application of one session's kernel."""

    name = "rlm-kernel"
    kernel_class: Any = Type(RlmKernel, klass="ipykernel.kernelbase.Kernel")
    outstream_class = DottedObjectName("rlm_kernel_mcp.in_kernel.channels.output.BudgetedOutStream", allow_none=True)
    # fd-level output would deadlock a step that prints 64 KiB from C while it holds the GIL (ipykernel#847).
    capture_fd_output = False

    def start(self) -> None:
        """Serve until somebody asks for the end. A step that stops the event loop which it runs in does not."""
        super().start()
        while self.kernel._shutdown_message is None and not (self.shell and self.shell.exit_now):
            with suppress(KeyboardInterrupt):
                self.io_loop.start()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have the control thread, which runs no user code, call something after a while."""
        loop: asyncio.AbstractEventLoop = self.control_thread.io_loop.asyncio_loop
        loop.call_soon_threadsafe(loop.call_later, seconds, call)

    def _session_default(self) -> SparingSession:
        return SparingSession(parent=self)

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """No command line of IPython: going through its options would write to 1 MB of pages that forks share."""
        del argv

    def init_profile_dir(self) -> None:
        """No profile directory."""
        self.profile_dir = NoProfileDir()

    def init_config_files(self) -> None:
        """No configuration files: the policy is all there is."""

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """No configuration files: the policy is all there is."""

    def init_path(self) -> None:
        """The working directory stays off `sys.path`."""

    def init_pdb(self) -> None:
        """No debugger in a session: there is nobody to use it."""

    def offer_debugger(self) -> None:
        """For a person at a notebook: a debugger that an interrupt ends; Python's would hold the kernel for good."""
        super().init_pdb()

    def init_poller(self) -> None:
        """The parent-death signal does it (`walls/`)."""

    def init_gui_pylab(self) -> None:
        """No GUI."""

    def init_extensions(self) -> None:
        """No extensions."""

    def init_code(self) -> None:
        """No start-up files."""

    def init_sockets(self) -> None:
        """Have ipykernel's context make sockets of a class that sends a message whole or not at all."""
        zmq.Context._socket_class = WholeSocket  # type: ignore[misc]  # ipykernel makes the context
        super().init_sockets()

    def init_control(self, context: zmq.Context[Any]) -> None:
        """Bind the control channel, without the debugger's connection to the kernel itself, the only one it makes.

        The main thread reads the shell channel: ipykernel's thread for it serves subshells, which a session has not,
        and costs each step four changes of thread.
        """
        super().init_control(context)
        # The walls refuse connect(2) after lock B, and nobody debugs here.
        self.debug_shell_socket.close(0)
        self.shell_channel_thread.io_loop.close()
        self.shell_channel_thread = None
        self.control_thread.io_loop.close()
        self.control_thread.io_loop = control_loop()

    def init_heartbeat(self) -> None:
        """Bind the heartbeat channel, in a context of its own: it must not wait for the interpreter lock."""
        # libzmq's own proxy runs in C without the interpreter lock, so a busy kernel still beats.
        self.heartbeat = BoundHeartbeat(zmq.Context(), (self.transport, self.ip, self.hb_port))
        self.heartbeat.start()

    def init_iopub(self, context: zmq.Context[Any]) -> None:
        """Bind iopub without the TCP listener that ipykernel opens for forked children's output, ipc or not."""
        self.iopub_socket = context.socket(zmq.XPUB)
        self.iopub_socket.linger = 1000
        Audience.prepare(self.iopub_socket)
        self.iopub_port = self._bind_socket(self.iopub_socket, self.iopub_port)
        self.configure_tornado_logger()
        self.iopub_thread = SparingIOPubThread(self.iopub_socket, pipe=False, session=self.session)
        self.iopub_thread.audience = Audience(self.iopub_socket, self.session)
        self.iopub_thread.start()
        self.iopub_socket = self.iopub_thread.background_socket

    def write_connection_file(self, **kwargs: Any) -> None:
        """The host wrote it, with every port."""

    def log_connection_info(self) -> None:
        """Record the ports; print nothing."""
        self._ports = {
            "shell": self.shell_port,
            "iopub": self.iopub_port,
            "stdin": self.stdin_port,
            "hb": self.hb_port,
            "control": self.control_port,
        }


def make_shell() -> None:
    """Make the shell, which needs neither sockets nor threads, before a fork: its kernels then share what it is.

    It is a singleton, so the kernel object takes it for its own (decision 0033).
    """
    RlmShell.instance(config=shell_config(), profile_dir=NoProfileDir(), compiler_class=StepCompiler)


def make_app(connection_file: Path, policy: dict[str, Any], scratch: Path) -> RlmKernelApp:
    """Make the application and its kernel; binds the sockets and starts the kernel's own threads."""
    BudgetedOutStream.budget_chars = policy["limits"]["output_chars_per_step"]
    app: RlmKernelApp = RlmKernelApp.instance(config=shell_config())
    app.connection_file = str(connection_file)
    app.ipython_dir = os.fspath(scratch)
    app.initialize([])
    _begin_here(app.kernel.shell)
    # traitlets sets DEBUG and leaves filtering to the handler: four records a step that nobody reads.
    app.log.setLevel(logging.WARNING)
    kernel = app.kernel
    app.iopub_thread.is_owned = lambda: kernel.owned
    install_notices(kernel.interrupts.swallowed)
    kernel.interrupts.later = app.call_later
    install_asyncio_run()
    install_os_system()
    install_unawaited()
    interval = SwitchInterval()
    note_parents(lambda: kernel.shell.display_pub.parent_header, policy["limits"]["threads"], interval)
    use_steps(lambda: kernel.shell.display_pub.parent_header)
    kernel.policy = policy
    kernel.scratch = str(scratch)
    offered.bind(kernel.shell.user_ns, offered.Loaded("", [], str(scratch)))
    functions = {name: function for name, (function, _) in offered.FUNCTIONS.items()}
    kernel.shell.user_ns_hidden.update(functions)
    if policy["imports"]["mode"] == "any":
        vars(builtins).update(functions)  # `del lines` gives back what a step has hidden by `lines = ...`
    use_namespace(kernel.shell.user_ns)
    kernel.snapshots = NamespaceSnapshots(kernel.shell.user_ns, policy["snapshots"])
    kernel.install_input()
    install_magic_policy(kernel.shell, policy["imports"]["mode"])
    install_import_policy(kernel.shell, policy["imports"], str(scratch), {**functions, "input": builtins.input})
    kernel.state = ProcessState(kernel.shell, interval)
    kernel.garbage = Garbage(policy["limits"]["memory_mb"])
    return app


def _begin_here(shell: RlmShell) -> None:
    """Make this directory the shell's: it was made in that of whoever started the fork server, or this process."""
    here = os.getcwd()  # noqa: PTH109
    shell.starting_dir = shell.home_dir = here
    shell.user_ns["_dh"][:] = [Path(here)]
