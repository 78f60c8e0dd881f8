# sbx-case chi-walls | category: questions | expect: hold | timeout: 20 | must: a child has the walls of its parent
got = rlm_query('''
for where in ("@CANARY_FILE@", "/etc/passwd", "/proc/self/environ"):
    try:
        print("ESCAPED", open(where).read()[:20])
    except (OSError, PermissionError) as error:
        print("held", type(error).__name__)
try:
    import socket  # the courtesies refuse it
    socket.create_connection(("127.0.0.1", @CANARY_PORT@), 1)
    print("ESCAPED")
except (ImportError, OSError) as error:
    print("held", type(error).__name__)
''', "abc")
print("HELD" if got.count("held ") == 4 and "ESCAPED" not in got else got)
