# sbx-case chi-spends | category: questions | expect: hold | timeout: 20 | must: a child may ask half of what is left, and leaves the rest to its parent
before = budget().subcalls
got = rlm_query(f"""
try:
    llm_query_batched([str(n) for n in range({before // 2 + 1})])
except SubcallError as error:
    print(error.code, budget().subcalls)
""", "abc")
left = budget().subcalls
print("HELD" if "budget" in got and left >= before // 2 else f"ESCAPED {before} {left} {got}")
