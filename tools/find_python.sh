#!/bin/sh
# Prints the Python that set-up uses: the one that .venv was made with, else the first of the names below that
# runs, is 3.10 to 3.12 and has venv. When none fits, the first that runs at all: tools/bootstrap.py then
# says what is wrong with it. Each is started to find out: a pyenv shim can exist and still fail.
cd "$(dirname "$0")/.." || exit 1
made_with=$(sed -n 's/^base //p' .venv/complete 2>/dev/null)
fallback=

for python in "$made_with" python3.11 python3.12 python3.10 python3 python; do
    [ -n "$python" ] || continue
    if "$python" -c 'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 12)
import venv, ensurepip' >/dev/null 2>&1; then
        echo "$python"
        exit 0
    fi
    if [ -z "$fallback" ] && "$python" -c 'import sys' >/dev/null 2>&1; then fallback=$python; fi
done
echo "$fallback"
