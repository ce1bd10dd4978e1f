#!/bin/sh
. "$(dirname "$0")/../peer.sh"
fresh
maildirs
pid
NODE_PATH="$BENCH_HOME/npm/node_modules" exec node "$HERE/server.js" "$BENCH_SMTP" "$MAIL" "$CERT" "$KEY" >"$RUN/log" 2>&1
