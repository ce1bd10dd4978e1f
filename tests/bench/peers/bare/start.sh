#!/bin/sh
. "$(dirname "$0")/../peer.sh"
fresh
pid
exec "$BENCH_PYTHON" "$HERE/server.py" "$BENCH_SMTP" "$BENCH_OPTIONS" "$MAIL" >"$RUN/log" 2>&1
