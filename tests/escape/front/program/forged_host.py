"""Listens in a host's place, and says what a front told and gave it: forged_host.py SOCKET. Its input ends it."""

import json
import os
import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(sys.argv[1])
        os.chmod(sys.argv[1], 0o600)
        listener.listen()
        listener.settimeout(60)
        print("listening", flush=True)
        peer, _ = listener.accept()
        pid = int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        hello = peer.recv(4096).split(b"\0")
        report: dict[str, object] = {"hello": hello[1].decode()}
        secret = b"0" * 32
        try:
            secret = os.readlink(f"/proc/{pid}/fd/{int(hello[2])}")[11:43].encode()
            report["secret"] = "read"
        except OSError as error:
            report["secret"] = error.strerror
        own = os.memfd_create("rlm-mine")
        peer.send(b"\0".join((b"rlm-host 1", b"seen", secret, b"%d" % own)))
        data, descriptors, _, _ = socket.recv_fds(peer, 1 << 17, 100)
        report["told"], report["given"] = len(data), len(descriptors)
        print(json.dumps(report), flush=True)


main()
