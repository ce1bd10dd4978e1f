#!/bin/sh
# With BENCH_JUDGED, apart from others' mounts: milters.sh says why.
if [ -n "${BENCH_JUDGED:-}" ] && [ -z "${BENCH_APART:-}" ]; then
    BENCH_APART=yes exec unshare --mount sh "$0"
fi
. "$(dirname "$0")/../peer.sh"
fresh
maildirs
mkdir -p "$RUN/queue" "$RUN/data" "$RUN/log"
chown postfix "$RUN/data"
render "$HERE/main.cf.in" "$RUN/etc/main.cf"
if [ -n "${BENCH_RELAY:-}" ]; then
    cat >>"$RUN/etc/main.cf" <<END
relayhost = [127.0.0.1]:$BENCH_RELAY
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
END
    sed -i 's|^mynetworks = .*|mynetworks = 127.0.0.0/8|' "$RUN/etc/main.cf"
fi
render "$HERE/master.cf.in" "$RUN/etc/master.cf"
each_user 'u%@example.test u%/' >"$RUN/etc/users"
/usr/sbin/postmap -c "$RUN/etc" "hash:$RUN/etc/users"
/usr/sbin/postfix -c "$RUN/etc" check 2>/dev/null || true
[ -z "${BENCH_JUDGED:-}" ] || . "$HERE/milters.sh"
pid
exec /usr/lib/postfix/sbin/master -c "$RUN/etc" -d
