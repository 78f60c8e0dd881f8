"""`python -m rlm_kernel_mcp` is the console script."""

import sys

from rlm_kernel_mcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
