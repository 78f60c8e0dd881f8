"""The program that a client starts: it runs `front.py` from the bytecode that Python keeps of a module.

Is: two lines. A program itself is compiled anew at each start, which would take a front a fifth of its time (decision
0131). Is not: the front, which lies in no directory that is searched for modules.
"""

import _frozen_importlib_external as importing  # what `import` itself is made of, and so is there already

PATH = __file__.rpartition("/")[0] + "/front.py"
CODE = importing.SourceFileLoader("front", PATH).get_code("front")
assert CODE is not None
exec(CODE, {"__name__": "__main__", "__file__": PATH})  # noqa: S102  (a file of ours)
