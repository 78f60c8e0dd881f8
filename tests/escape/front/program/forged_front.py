"""Speaks to a host by hand and tries to get in without the right to: forged_front.py SOCKET [VERB].

Prints what came of it.
"""

import json
import os
import socket
import sys


def main() -> None:
    report = dict[str, object]()
    verb = os.fsencode(sys.argv[2]) if len(sys.argv) > 2 else b"serve"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(60)
        try:
            peer.connect(sys.argv[1])
        except OSError as error:
            print(json.dumps({"connect": error.strerror}))
            return
        own = os.memfd_create("rlm-mine")
        peer.send(b"rlm-host 1\0hello\0%d" % own)
        answer = peer.recv(4096).split(b"\0")
        report["hello"] = answer[1].decode()
        if report["hello"] == "no":
            report["reason"] = answer[2].decode()
        else:
            pid = int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
            secret = "0" * 32
            try:
                secret = os.readlink(f"/proc/{pid}/fd/{int(answer[3])}")[11:43]
                report["secret"] = "read"
            except OSError as error:
                report["secret"] = error.strerror
            claimed = [os.open("/etc", os.O_PATH) for _ in range(7)]
            said = b"\0".join((b"rlm-host 1", verb, secret.encode(), b"0.1.0", b"/", b"/"))
            socket.send_fds(peer, [said], claimed)
            report["asked"] = peer.recv(4096).split(b"\0")[1:][-1].decode()
    print(json.dumps(report))


main()
