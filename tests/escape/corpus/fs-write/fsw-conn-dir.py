# sbx-case fsw-conn-dir | category: fs-write | expect: contain | timeout: 20 | must: the session's own socket files cannot be removed or replaced
try:
    import os, glob
    d="@OWN_CONN_DIR@"; ev=[]
    for p in ("s-1","s-2","s-3","s-4","s-5"):
        try: os.unlink(d+"/"+p); ev.append(p)
        except OSError as e: last=e
    if not ev: raise last
    print("ESCAPED", ev)
except BaseException as e:
    print("HELD", type(e).__name__, str(e)[:160])
