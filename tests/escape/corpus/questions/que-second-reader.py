# sbx-case que-second-reader | category: questions | expect: integrity | timeout: 20 | must: a second reader of the channel takes answers from its own session alone
@RAW@
second = os.dup(fd)
def steal():
    while True: os.read(second, 1)
threading.Thread(target=steal, daemon=True).start()
while True: llm_query("long")
