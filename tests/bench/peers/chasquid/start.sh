#!/bin/sh
# chasquid queues (a file a mail), then runs mda-lmtp for each recipient; a private Dovecot LMTP
# server (maildir) is the store. Both are counted.
. "$(dirname "$0")/../peer.sh"
fresh
D=$RUN/dovecot
mkdir -p "$D/etc" "$D/home" "$RUN/etc/domains/example.test" "$RUN/etc/certs/mx.example.test" "$RUN/data"
chown "$OWNER:$OWNER" "$D/home"
chmod 755 "$D"
each_user 'u%:{PLAIN}pw::::::' >"$D/etc/users"
render "$HERE/../dovecot/dovecot.conf.in" "$D/etc/dovecot.conf"
sed -i "s|$RUN/base|$D/base|; s|$RUN/state|$D/state|; s|log_path = .*|log_path = $D/log|; s|$RUN/etc/users|$D/etc/users|; s|$RUN/home|$D/home|" "$D/etc/dovecot.conf"
/usr/sbin/dovecot -F -c "$D/etc/dovecot.conf" >"$D/out" 2>&1 &
render "$HERE/chasquid.conf.in" "$RUN/etc/chasquid.conf"
cp "$CERT" "$RUN/etc/certs/mx.example.test/fullchain.pem"
cp "$KEY" "$RUN/etc/certs/mx.example.test/privkey.pem"
# One user by its own tool, the others by the same entry under another name: a hash each is slow.
chasquid-util -C="$RUN/etc" user-add u0@example.test --password=pw >/dev/null
U=$RUN/etc/domains/example.test/users
sed -n '/^users/,$p' "$U" >"$U.u0"
seq 1 "$LAST" | while read -r n; do sed "s/\"u0\"/\"u$n\"/" "$U.u0"; done >>"$U"
rm "$U.u0"
# Nothing listens there: SPF look-ups fail at once.
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$RUN/resolv.conf"
pid
exec unshare -m sh -c "mount --bind $RUN/resolv.conf /etc/resolv.conf &&
    exec chasquid -config_dir=$RUN/etc" >"$RUN/out" 2>&1
