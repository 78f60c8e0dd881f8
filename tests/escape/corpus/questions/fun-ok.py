# sbx-case fun-ok | category: questions | expect: allow | timeout: 20 | must: an offered function is called, and its words come back as an exception
ok = host_call("echo", a=[1, "é"]) == {"a": [1, "é"]}
try:
    host_call("fails")
except HostCallError as error:
    ok = ok and str(error) == "it fails"
print("OK" if ok else "BROKEN")
