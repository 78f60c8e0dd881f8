# sbx-case que-closed | category: questions | expect: hold | timeout: 20 | must: what waits on a channel that its kernel has closed fails, and so does what is asked after that; the kernel goes on
@RAW@
os.close(fd)
said = []
for _ in range(2):
    try: llm_query("p")
    except SubcallError as error: said.append(error.code)
print("HELD" if said == ["gone", "gone"] else "BROKEN", said)
