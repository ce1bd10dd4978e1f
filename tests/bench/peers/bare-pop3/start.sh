#!/bin/sh
. "$(dirname "$0")/../peer.sh"
fresh
pid
exec "$BENCH_PYTHON" "$HERE/server.py" "$BENCH_POP3" "$RUN" >"$RUN/log" 2>&1
