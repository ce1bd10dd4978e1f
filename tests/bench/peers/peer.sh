# Sourced by every PEER/start.sh, which ends in the exec of the server, in the foreground.
#
# Given in the environment by tests/bench/targets.py: BENCH_HOME; BENCH_PEER (the folder's name);
# BENCH_PYTHON (that of this tree's environment); BENCH_SMTP, BENCH_POP3, BENCH_LMTP (ports);
# BENCH_USERS (how many); BENCH_HASH (argon2id of "pw"); BENCH_KEEP=1 to keep the mailboxes;
# BENCH_OPTIONS (peer.json's "options"); BENCH_RELAY, the port on 127.0.0.1 that all mail for other
# hosts is relayed to, else empty (peers whose peer.json has "relays"). Everything that a run writes lies under BENCH_HOME.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
TREE=$(cd "$HERE/../../../.." && pwd)
RUN=$BENCH_HOME/run/$BENCH_PEER
MAIL=$RUN/mail
CERT=$BENCH_HOME/tls/cert.pem
KEY=$BENCH_HOME/tls/key.pem
OWNER=5000 # whose the maildirs are; nobody's account
LAST=$((BENCH_USERS - 1))

fresh() {
    if [ "${BENCH_KEEP:-0}" = 1 ] && [ -d "$MAIL" ]; then
        find "$RUN" -mindepth 1 -maxdepth 1 ! -name mail -exec rm -rf {} +
    else
        rm -rf "$RUN"
    fi
    mkdir -p "$RUN/etc" "$MAIL"
    chmod 755 "$BENCH_HOME" "$BENCH_HOME/run" "$RUN"
    [ "$(id -u)" != 0 ] || chown "$OWNER:$OWNER" "$MAIL"
}
maildirs() { # u0 to the last, each with tmp new cur
    seq -f "$MAIL/u%g" 0 "$LAST" | sed 'p;s|$|/tmp|;p;s|tmp$|new|;p;s|new$|cur|' | xargs mkdir -p
    chown -R "$OWNER:$OWNER" "$MAIL"
}
each_user() { # a line each; % stands for the number
    seq 0 "$LAST" | sed "s|.*|$(printf %s "$1" | sed 's|%|\&|g')|"
}
render() { # template output
    sed -e "s|@RUN@|$RUN|g" -e "s|@MAIL@|$MAIL|g" -e "s|@SMTP@|$BENCH_SMTP|g" \
        -e "s|@POP3@|$BENCH_POP3|g" -e "s|@LMTP@|$BENCH_LMTP|g" -e "s|@OWNER@|$OWNER|g" \
        -e "s|@HOME@|$BENCH_HOME|g" -e "s|@CERT@|$CERT|g" -e "s|@KEY@|$KEY|g" "$1" >"$2"
}
pid() { echo $$ >"$RUN/pid"; } # just before exec
