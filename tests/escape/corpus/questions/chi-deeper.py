# sbx-case chi-deeper | category: questions | expect: hold | timeout: 20 | must: code in a child that asks for a child of its own beyond the last depth is answered by a model
got = rlm_query("print(rlm_query('print(41 * 1_000 + 1)', 'inner'))", "outer")
print("HELD" if "echo of print(41" in got and "41001" not in got else got)
