#!/bin/sh
# The spool and the helpers have their places compiled in: /var/spool/smtpd, /usr/libexec/opensmtpd.
. "$(dirname "$0")/../peer.sh"
fresh
maildirs
mkdir -p /usr/libexec /var/lib/opensmtpd/empty
[ -d /usr/libexec/opensmtpd ] || cp -a "$BENCH_HOME/opensmtpd/usr/libexec/opensmtpd" /usr/libexec/
each_user "u% $OWNER:$OWNER:$MAIL/u%" >"$RUN/etc/users"
render "$HERE/smtpd.conf.in" "$RUN/etc/smtpd.conf"
chmod 600 "$RUN/etc/smtpd.conf"
mkdir -p /var/spool/smtpd && chmod 711 /var/spool/smtpd
find /var/spool/smtpd/queue /var/spool/smtpd/incoming -mindepth 1 -delete 2>/dev/null || true
printf 'lookup file\n' >"$RUN/resolv.conf"
pid
# A private /etc/resolv.conf, so that its reverse look-ups stay in /etc/hosts.
exec unshare -m sh -c "mount --bind $RUN/resolv.conf /etc/resolv.conf &&
    exec $BENCH_HOME/opensmtpd/usr/sbin/smtpd -d -f $RUN/etc/smtpd.conf" >"$RUN/log" 2>&1
