"""Attacks on sockets outside: every family, and the ways round socket(2) and connect(2)."""

from __future__ import annotations

import array
import encodings.idna  # noqa: F401 - names are encoded with it; it must not be what stops an attack
import socket

from tests.escape.walls.program.targets import Targets, raw

SENDTO = {"x86_64": 44, "aarch64": 206}
CONNECT = {"x86_64": 42, "aarch64": 203}
IO_URING_SETUP = 425
IPPROTO_MPTCP = 262


def connect_by_tcp(targets: Targets) -> None:
    socket.create_connection(("127.0.0.1", targets.tcp_port), 2).close()


def connect_by_tcp_over_ipv6(targets: Targets) -> None:
    socket.create_connection(("::1", targets.tcp_port), 2).close()


def connect_by_multipath_tcp(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as sock:
        sock.connect(("127.0.0.1", targets.tcp_port))


def connect_by_fast_open(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.sendto(b"hit", socket.MSG_FASTOPEN, ("127.0.0.1", targets.tcp_port))


def listen_on_tcp(targets: Targets) -> None:
    socket.create_server(("127.0.0.1", 0)).close()


def send_by_udp(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hit", ("127.0.0.1", targets.udp_port))


def ask_for_a_name(targets: Targets) -> object:
    return socket.getaddrinfo("localhost.localdomain.example", 80)


def connect_to_a_path(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(targets.stream_path)


def send_to_a_path(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hit", targets.datagram_path)


def connect_to_an_abstract_name(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + targets.abstract_name)


def re_aim_a_datagram_pair(targets: Targets) -> None:
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"hit", targets.datagram_path)


def re_aim_a_stream_pair(targets: Targets) -> None:
    ours, _ = socket.socketpair()
    ours.sendto(b"hit", targets.stream_path)


def connect_an_inherited_socket_by_number(targets: Targets) -> None:
    ours, _ = socket.socketpair()
    address = b"\1\0" + targets.stream_path.encode() + b"\0"
    raw(CONNECT[targets.machine], ours.fileno(), address, len(address))


def send_a_descriptor_to_a_peer(targets: Targets) -> None:
    ours, _ = socket.socketpair()
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])


def ask_for_a_handle_on_the_peer_of_a_socket(targets: Targets) -> bytes:
    ours, _ = socket.socketpair()
    return ours.getsockopt(socket.SOL_SOCKET, 77, 4)


def open_netlink(targets: Targets) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


def open_vsock(targets: Targets) -> None:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()


def open_a_packet_socket(targets: Targets) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


def open_the_kernels_crypto(targets: Targets) -> None:
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()


def open_a_ring_that_makes_sockets(targets: Targets) -> None:
    raw(IO_URING_SETUP, 8, bytes(120))
