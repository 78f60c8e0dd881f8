"""`python -I -m rlm_kernel_mcp.in_kernel -f CONNECTION_FILE --policy POLICY`: a cold start of one kernel."""

from __future__ import annotations

import sys

from rlm_kernel_mcp.in_kernel.launch import main

if __name__ == "__main__":
    main(sys.argv[1:])
