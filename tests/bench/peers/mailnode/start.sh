#!/bin/sh
# The node of this tree, started by twistd, with a users.db of its own and default settings.
. "$(dirname "$0")/../peer.sh"
if [ "${BENCH_KEEP:-0}" != 1 ]; then rm -rf "$RUN"; fi
mkdir -p "$RUN"
cd "$RUN"
[ ! -d "$TREE/mailnode" ] || export PYTHONPATH="$TREE"
"$BENCH_PYTHON" "$HERE/make_accounts.py" "$RUN/users.db"
if [ -n "${BENCH_MODEL:-}" ]; then
    mkdir -p "$RUN/var/models"
    cp "$BENCH_MODEL" "$RUN/var/models/node.model"
fi
if [ -n "${BENCH_RELAY:-}" ]; then
    export MAILNODE_OUTBOUND__RATE=0 # the load signs in as one account
fi
pid
# shellcheck disable=SC2086
exec "$(dirname "$BENCH_PYTHON")/twistd" -n --pidfile= -l "$RUN/log" mailnode \
    --smtp "$BENCH_SMTP" --pop3 "$BENCH_POP3" --hostname mx.example.test \
    --users "$RUN/users.db" --data "$RUN/var" --tls-cert "$CERT" --tls-key "$KEY" \
    $BENCH_OPTIONS >"$RUN/out" 2>&1
