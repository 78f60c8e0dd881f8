# sbx-case krn-own-key-client | category: kernel-integrity | expect: contain | timeout: 20 | must: a client made from the kernel's own connection file cannot be used to reach the server or a peer
try:
    import zmq,json
    c=json.load(open("@OWN_CONN_DIR@/kernel.json"))
    s=zmq.Context.instance().socket(zmq.DEALER); s.linger=0; s.connect("ipc://@PEER_SHELL@"); s.send(b"x",zmq.NOBLOCK); import time; time.sleep(1)
    print("NOTE key is", len(c["key"])); print("FIRED decided by the peer")
except BaseException as e:
    print("HELD", type(e).__name__, str(e)[:160])
