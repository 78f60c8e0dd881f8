# sbx-case que-ok | category: questions | expect: allow | timeout: 20 | must: honest questions are answered: alone, in batches, in threads, with await, with a schema

import asyncio
from concurrent.futures import ThreadPoolExecutor
names = [f"q{n}" for n in range(20)]
with ThreadPoolExecutor(4) as pool:
    threads = list(pool.map(llm_query, names))
tasks = await asyncio.gather(*map(llm_query_async, names))
assert threads == tasks == llm_query_batched(names) == [f"echo of {name}" for name in names]
assert llm_query("number", schema=int) == 7
assert forecast(names).calls == 0
print("OK")
