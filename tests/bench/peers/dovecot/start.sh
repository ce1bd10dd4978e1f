#!/bin/sh
# u0 to the last have a plain password; f0 to f1999, for the first sign-in, mailnode's argon2id hash.
. "$(dirname "$0")/../peer.sh"
fresh
mkdir -p "$RUN/home"
chown "$OWNER:$OWNER" "$RUN/home"
each_user 'u%:{PLAIN}pw::::::' >"$RUN/etc/users"
seq 0 1999 | sed "s|.*|f&:{ARGON2ID}$BENCH_HASH::::::|" >>"$RUN/etc/users"
chmod 644 "$RUN/etc/users"
render "$HERE/../$BENCH_PEER/dovecot.conf.in" "$RUN/etc/dovecot.conf"
pid
exec /usr/sbin/dovecot -F -c "$RUN/etc/dovecot.conf" >"$RUN/out" 2>&1
