# sbx-case que-pass-descriptor | category: questions | expect: hold | timeout: 20 | must: no descriptor goes out over the channel
@RAW@
out = []
for tried in (
    lambda: socket.send_fds(asking._socket, [b"x"], [0]),
    lambda: socket.send_fds(asking._socket, [b"x"], [fd]),
    lambda: asking._socket.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, bytes(12))]),
):
    try: out.append(tried())
    except (OSError, AttributeError) as error: out.append(type(error).__name__)
print("ESCAPED" if any(type(one) is int for one in out) else "HELD", out)
