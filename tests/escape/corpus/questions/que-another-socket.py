# sbx-case que-another-socket | category: questions | expect: hold | timeout: 20 | must: with the channel no socket can be made that leads anywhere, and it leads to its host alone
@RAW@
out = []
for tried in (
    lambda: socket.socket(),
    lambda: socket.socket(socket.AF_UNIX),
    lambda: asking._socket.connect("@CANARY_SOCK@"),
    lambda: asking._socket.connect("\0@CANARY_ABSTRACT@"),
    lambda: asking._socket.bind("own"),
    lambda: asking._socket.listen(),
    lambda: asking._socket.accept(),
    lambda: asking._socket.sendto(b"x", "@CANARY_DGRAM@"),
):
    try: out.append(tried() or "done")
    except OSError as error: out.append(error.errno)
print("ESCAPED" if "done" in out or any(isinstance(one, (tuple, socket.socket)) for one in out) else "HELD", out)
