#!/bin/sh
# The stock command line with the stock Mailbox handler: one maildir for all.
. "$(dirname "$0")/../peer.sh"
fresh
rmdir "$MAIL"
pid
exec "$BENCH_HOME/venv/bin/python" -m aiosmtpd -n -s 52428800 -l "127.0.0.1:$BENCH_SMTP" \
    --tlscert "$CERT" --tlskey "$KEY" --no-requiretls \
    -c aiosmtpd.handlers.Mailbox "$MAIL" >"$RUN/log" 2>&1
