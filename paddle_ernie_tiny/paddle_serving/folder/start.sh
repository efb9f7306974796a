#!/bin/sh
# Starts the service in the background and returns when it answers: start.sh [--http-port N] [--rpc-port N]
# Python: .venv of this folder if it is there, else $PYTHON, else python3. Does nothing if it runs already.
cd "$(dirname "$0")" || exit 1
folder=$PWD
if [ -x .venv/bin/python ]; then python=$folder/.venv/bin/python; else python=${PYTHON:-python3}; fi
mkdir -p run && cd run || exit 1
if [ -f service.pid ] && [ "$(readlink "/proc/$(cat service.pid)/cwd")" = "$(pwd -P)" ]; then
    echo "already running, process $(cat service.pid): $(tr '\n' ' ' < ready)"
    exit 0
fi
rm -f ready
# A session of its own: Paddle Serving kills its whole process group when it cannot load the model.
SERVING_HOME=$PWD setsid "$python" "$folder/service.py" "$@" > service.log 2>&1 < /dev/null &
pid=$!
echo $pid > service.pid
while [ ! -f ready ]; do
    if ! kill -0 $pid 2> /dev/null; then
        echo "the service did not start; run/service.log ends with:" >&2
        tail -n 15 service.log >&2
        "$folder/stop.sh" > /dev/null
        exit 1
    fi
    sleep 0.2
done
echo "running, process $pid: $(tr '\n' ' ' < ready)"
