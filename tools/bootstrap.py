"""Entry point of set-up; runs on any Python (2 or 3), to say in one message which Python it needs."""

from __future__ import print_function

import os
import sys

LOWEST, HIGHEST = (3, 10), (3, 12)


def version_problem(version, executable):
    """Returns the message for a Python that set-up does not take, or None."""
    if LOWEST <= tuple(version[:2]) <= HIGHEST:
        return None
    return (
        "set-up failed: Python 3.10, 3.11 or 3.12 is needed; this is %d.%d\n"
        "  where: %s\n"
        "  remedy: install one of them, or name it: make setup PYTHON=/path/to/python3.11"
        % (version[0], version[1], executable)
    )


def main():
    problem = version_problem(sys.version_info, sys.executable)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import setup_env

    return setup_env.main()


if __name__ == "__main__":
    sys.exit(main())
