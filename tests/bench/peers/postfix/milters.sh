# Sourced by start.sh where BENCH_JUDGED names a port: there, behind a proxy, mail is taken that
# OpenDKIM, OpenDMARC and Rspamd judge. Each looks at one thing: signatures, SPF and the policy, and
# whether the mail is wanted. Rspamd has its own rules and words, in Redis, and asks nobody else.
# BENCH_DNS is the name server's address; who asks the system's finds it, too.
mkdir -p "$RUN/milters" "$RUN/rspamd/local.d" "$RUN/rspamd/db" "$RUN/rspamd/log" "$RUN/redis"
chmod 755 "$RUN/milters"
echo "nameserver $BENCH_DNS" >"$RUN/resolv.conf"
mount --bind "$RUN/resolv.conf" /etc/resolv.conf # of a mount namespace of our own

cat >"$RUN/opendkim.conf" <<END
Mode v
Socket local:$RUN/milters/opendkim
UMask 000
InternalHosts 192.0.2.1
AuthservID mx.example.test
AlwaysAddARHeader yes
On-BadSignature accept
RequireSafeKeys no
Nameservers $BENCH_DNS
Syslog no
PidFile $RUN/opendkim.pid
TemporaryDirectory $RUN
END
echo 192.0.2.1 >"$RUN/nobody"
cat >"$RUN/opendmarc.conf" <<END
Socket local:$RUN/milters/opendmarc
UMask 000
AuthservID mx.example.test
TrustedAuthservIDs mx.example.test
IgnoreHosts $RUN/nobody
SPFSelfValidate true
SPFIgnoreResults true
RejectFailures true
PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat
Syslog false
PidFile $RUN/opendmarc.pid
END

cd "$RUN/rspamd/local.d"
echo "dns { nameserver = [\"$BENCH_DNS\"]; }" >options.inc
for module in arc asn bimi dkim dkim_signing dmarc elastic fuzzy_check greylist history_redis mx_check \
    neural phishing ratelimit rbl replies reputation rspamd_update spf surbl url_redirector; do
    echo 'enabled = false;' >$module.conf
done
echo 'count = -1;' | tee worker-normal.inc >worker-fuzzy.inc
echo 'bind_socket = "127.0.0.1:11394"; password = "pw"; secure_ip = "127.0.0.1";' >worker-controller.inc
cat >worker-proxy.inc <<END
bind_socket = "$RUN/milters/rspamd mode=0666";
milter = yes; count = 2;
upstream "local" { default = yes; self_scan = yes; }
END
echo 'use = ["x-spamd-result"]; skip_local = false; skip_authenticated = false;' >milter_headers.conf
echo 'reject = null; greylist = null; add_header = 6;' >actions.conf
echo 'backend = "redis"; servers = "127.0.0.1:6394";' >classifier-bayes.conf
echo 'servers = "127.0.0.1:6394";' >redis.conf
echo 'type = "file"; level = "warning";' >logging.inc
chown -R _rspamd:_rspamd "$RUN/rspamd"
cd "$RUN"

redis-server --bind 127.0.0.1 --port 6394 --save '' --appendonly no --dir "$RUN/redis" \
    --daemonize no >"$RUN/redis/out" 2>&1 &
opendkim -f -x "$RUN/opendkim.conf" >"$RUN/opendkim.out" 2>&1 &
opendmarc -f -c "$RUN/opendmarc.conf" >"$RUN/opendmarc.out" 2>&1 &
rspamd -f -u _rspamd -g _rspamd --var="LOCAL_CONFDIR=$RUN/rspamd" --var="DBDIR=$RUN/rspamd/db" \
    --var="RUNDIR=$RUN/rspamd/db" --var="LOGDIR=$RUN/rspamd/log" >"$RUN/rspamd/out" 2>&1 &

cat >>"$RUN/etc/main.cf" <<END
milter_default_action = tempfail
smtpd_milters = unix:$RUN/milters/opendkim unix:$RUN/milters/opendmarc unix:$RUN/milters/rspamd
END
cat >>"$RUN/etc/master.cf" <<END
127.0.0.1:$BENCH_JUDGED inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy
END
