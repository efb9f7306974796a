"""`python -m paddle_ernie_tiny`, and the script that `paddle.distributed.launch` starts in every process."""

import os
import sys

# As a script, its own folder would be searched for modules first, and hide others of the same names.
if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
    sys.path.pop(0)

from paddle_ernie_tiny.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
