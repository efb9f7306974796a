"""`python -m paddle_ernie_tiny`, and the script that `paddle.distributed.launch` starts in every process."""

import os
import sys

# As a script, its own folder would be searched for modules first, with `-m` the working folder: both may hold files
# with names of other modules. The package itself is found where it is, here and in child processes.
if sys.path and not getattr(sys.flags, "safe_path", False):
    sys.path.pop(0)
_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if _PARENT not in sys.path:
    sys.path.append(_PARENT)

from paddle_ernie_tiny.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
