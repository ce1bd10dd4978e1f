#!/bin/sh
# Exim reads a configuration of root's choice only when /etc/exim4/trusted_configs names it.
. "$(dirname "$0")/../peer.sh"
fresh
maildirs
mkdir -p "$RUN/spool" "$RUN/log" /etc/exim4
chown Debian-exim:Debian-exim "$RUN/spool" "$RUN/log"
install -o Debian-exim -m 600 "$KEY" "$RUN/etc/key.pem"
each_user 'u%: u%' >"$RUN/etc/users"
render "$HERE/exim.conf.in" "$RUN/etc/exim.conf"
echo "$RUN/etc/exim.conf" >/etc/exim4/trusted_configs
chmod 644 "$RUN/etc/exim.conf" /etc/exim4/trusted_configs
pid
exec "$BENCH_HOME/exim/usr/sbin/exim4" -C "$RUN/etc/exim.conf" -bdf -q30m >"$RUN/out" 2>&1
