#!/bin/sh
# Stops the service and its gateway (one process group); does nothing if it does not run.
cd "$(dirname "$0")" || exit 1
if [ ! -f run/service.pid ]; then
    echo "not running"
    exit 0
fi
group=$(cat run/service.pid)
cwd=$(readlink "/proc/$group/cwd")
# The number may by now belong to a process of somebody else, after a restart of the machine.
if { [ -z "$cwd" ] || [ "$cwd" = "$(pwd -P)/run" ]; } && kill -s 0 -- "-$group" 2> /dev/null; then
    kill -s TERM -- "-$group"
    tries=0
    while kill -s 0 -- "-$group" 2> /dev/null; do
        tries=$((tries + 1))
        [ $tries -eq 50 ] && kill -s KILL -- "-$group"
        [ $tries -eq 100 ] && echo "process group $group does not end" >&2 && exit 1
        sleep 0.1
    done
fi
rm -f run/service.pid run/ready
echo "stopped"
