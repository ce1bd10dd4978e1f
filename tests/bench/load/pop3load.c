/* pop3load: POP3 load, closed loop, that checks what it reads. Prints one JSON object.
 *
 * -p PORT -H 127.0.0.1  -s sessions at once  -n sign-ins in all | -T seconds   -Z STLS
 * -u users  -U first user  -f user name (u%d)  -w password
 * -P N  keep up to N RETR in flight (1: lock-step)
 * -S    STAT alone (sign-in, STAT, QUIT)   -L  STAT, LIST and UIDL, no RETR
 * -D    DELE every mail that was read
 * -x    the octets of RETR needn't be those of STAT
 *
 * A session: greeting, USER, PASS, STAT, UIDL, RETR 1 to n, DELE, QUIT. Checked: the status of
 * every reply, the end of every multi-line reply, as many rows of UIDL (and LIST) as STAT said, and
 * as many octets.
 */
#include "conn.h"

static const char *host = "127.0.0.1", *password = "pw", *name_format = "u%d";
static int port = 1110, sessions = 20, users = 20, user0, depth = 1, stat_only, lists, dele, lax, with_tls;
static long sign_ins;
static double seconds, t_end;

struct worker {
    pthread_t thread;
    int id;
    long ok, failed, mails, mismatch;
    unsigned long long octets;
    double last;
    struct samples stat, whole, list, uidl;
};
static char *status(struct conn *c, const char *where, size_t *n) {
    char *s = conn_line(c, n);
    if (!s) {
        note_text(where, "connection lost");
        return NULL;
    }
    if (s[0] == '+') return s;
    note(where, s, *n);
    return NULL;
}
static char *ask(struct conn *c, const char *text, const char *where) {
    size_t n;
    return conn_say(c, text) < 0 ? NULL : status(c, where, &n);
}
/* The rows of a multi-line reply; adds its octets, dots taken off. Less than 0: cut off. */
static long rows(struct conn *c, unsigned long long *octets) {
    long count = 0;
    for (;; count++) {
        size_t n;
        char *s = conn_line(c, &n);
        if (!s) return -1;
        if (s[0] == '.') {
            if (n == 3 && s[1] == '\r') return count;
            n--;
        }
        *octets += n;
    }
}
static int listing(struct worker *w, struct conn *c, const char *text, long count, struct samples *times) {
    unsigned long long octets = 0;
    double began = now();
    if (!ask(c, text, text)) return -1;
    if (rows(c, &octets) != count) {
        note_text(text, "rows differ from STAT");
        w->mismatch++;
    }
    sample(times, now() - began);
    return 0;
}
static int retrieve(struct worker *w, struct conn *c, long count, unsigned long long octets) {
    unsigned long long got = 0;
    long sent = 0, done = 0;
    size_t n;
    while (done < count) {
        /* asked for again when half has come: fewer sends */
        if (sent < count && sent - done <= depth / 2) {
            char text[16384];
            int k = 0;
            while (sent < count && sent - done < depth && k < (int)sizeof text - 32)
                k += sprintf(text + k, "RETR %ld\r\n", ++sent);
            if (conn_send(c, text, k) < 0) return -1;
        }
        if (!status(c, "RETR", &n)) return -1;
        if (rows(c, &got) < 0) {
            note_text("RETR", "no end");
            return -1;
        }
        done++;
    }
    w->mails += count;
    w->octets += got;
    if (got != octets) {
        w->mismatch++;
        if (!lax) note_text("RETR", "octets differ from STAT");
    }
    return 0;
}
static int session(struct worker *w, struct conn *c, int user) {
    char text[256], name[128];
    size_t n;
    double began = now();
    if (conn_open(c, host, port, 60) < 0 || !status(c, "greeting", &n)) return -1;
    if (with_tls && (!ask(c, "STLS\r\n", "STLS") || conn_handshake(c) < 0)) return -1;
    snprintf(name, sizeof name, name_format, user);
    snprintf(text, sizeof text, "USER %s\r\n", name);
    if (!ask(c, text, "USER")) return -1;
    snprintf(text, sizeof text, "PASS %s\r\n", password);
    if (!ask(c, text, "PASS")) return -1;
    char *s = ask(c, "STAT\r\n", "STAT");
    if (!s) return -1;
    long count = 0;
    unsigned long long octets = 0;
    sscanf(s, "+OK %ld %llu", &count, &octets);
    sample(&w->stat, now() - began);
    if (lists && listing(w, c, "LIST\r\n", count, &w->list) < 0) return -1;
    if (!stat_only && listing(w, c, "UIDL\r\n", count, &w->uidl) < 0) return -1;
    if (!stat_only && !lists) {
        if (retrieve(w, c, count, octets) < 0) return -1;
        for (long i = 1; dele && i <= count; i++) {
            snprintf(text, sizeof text, "DELE %ld\r\n", i);
            if (!ask(c, text, "DELE")) return -1;
        }
    }
    if (!ask(c, "QUIT\r\n", "QUIT")) return -1;
    w->last = now();
    sample(&w->whole, w->last - began);
    return 0;
}
static void *work(void *a) {
    struct worker *w = a;
    struct conn c;
    conn_make(&c, 1 << 20);
    /* Each keeps to users of its own, because one maildrop takes one session at a time. */
    for (long no = w->id;; no += sessions) {
        if (seconds && now() >= t_end) break;
        if (sign_ins && no >= sign_ins) break;
        int done = session(w, &c, user0 + (int)(no % users));
        conn_close(&c);
        if (done == 0)
            w->ok++;
        else if (++w->failed > 50)
            break;
    }
    free(c.buf);
    return NULL;
}
int main(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "H:p:s:n:T:u:U:f:w:P:SLDxZ")) != -1) switch (o) {
        case 'H': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 's': sessions = atoi(optarg); break;
        case 'n': sign_ins = atol(optarg); break;
        case 'T': seconds = atof(optarg); break;
        case 'u': users = atoi(optarg); break;
        case 'U': user0 = atoi(optarg); break;
        case 'f': name_format = optarg; break;
        case 'w': password = optarg; break;
        case 'P': depth = atoi(optarg); break;
        case 'S': stat_only = 1; break;
        case 'L': lists = 1; break;
        case 'D': dele = 1; break;
        case 'x': lax = 1; break;
        case 'Z': with_tls = 1; break;
        default: return 2;
        }
    if (!sign_ins && !seconds) sign_ins = sessions;
    if (users < 1 || sessions < 1 || depth < 1) return 2;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (with_tls) tls_make();
    struct worker *all = calloc(sessions, sizeof *all), sum = {0};
    double began = now();
    sum.last = began;
    t_end = began + seconds;
    for (int i = 0; i < sessions; i++) all[i].id = i;
    for (int i = 0; i < sessions; i++)
        if (pthread_create(&all[i].thread, NULL, work, &all[i])) return 3;
    for (int i = 0; i < sessions; i++) {
        struct worker *w = &all[i];
        pthread_join(w->thread, NULL);
        sum.ok += w->ok;
        sum.failed += w->failed;
        sum.mails += w->mails;
        sum.mismatch += w->mismatch;
        sum.octets += w->octets;
        if (w->last > sum.last) sum.last = w->last;
        samples_join(&sum.stat, &w->stat);
        samples_join(&sum.whole, &w->whole);
        samples_join(&sum.list, &w->list);
        samples_join(&sum.uidl, &w->uidl);
    }
    samples_sort(&sum.stat);
    samples_sort(&sum.whole);
    samples_sort(&sum.list);
    samples_sort(&sum.uidl);
    double took = sum.last - began, mib = sum.octets / 1048576.0;
    double each = took > 0 ? 1 / took : 0;
    printf("{\"sessions\": %ld, \"failed\": %ld, \"mails\": %ld, \"mismatch\": %ld, \"mib\": %.1f, \"secs\": %.4f, "
           "\"session_rate\": %.1f, \"mail_rate\": %.1f, \"mib_rate\": %.1f, \"stat_p50_ms\": %.2f, "
           "\"stat_p95_ms\": %.2f, \"stat_p99_ms\": %.2f, \"session_p50_ms\": %.1f, \"session_p95_ms\": %.1f, "
           "\"list_p50_ms\": %.1f, \"uidl_p50_ms\": %.1f, \"client_cpu_s\": %.3f, \"first_error\": \"%s\"}\n",
           sum.ok, sum.failed, sum.mails, sum.mismatch, mib, took, sum.ok * each, sum.mails * each, mib * each,
           part_ms(&sum.stat, .5), part_ms(&sum.stat, .95), part_ms(&sum.stat, .99), part_ms(&sum.whole, .5),
           part_ms(&sum.whole, .95), part_ms(&sum.list, .5), part_ms(&sum.uidl, .5), cpu_self(), first_error);
    return 0;
}
