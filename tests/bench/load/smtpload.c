/* smtpload: SMTP load with latencies, closed loop or at an offered rate. Prints one JSON object.
 *
 * -p PORT  -H 127.0.0.1   -s sessions   -T seconds | -m mails   -t seconds to wait for a reply (20)
 * -l octets of a mail, headers included   -r recipients of each
 * -k keep the connection   -P pipeline MAIL RCPT DATA   -Z STARTTLS
 * -R N  offer N mails a second in all; latency counts from the moment a mail was due
 * -A    all sessions connect at the same moment
 * -W    wait for the reply to QUIT (else QUIT and close, as Postfix does)
 * -f u%d  local part   -u number of users (100)   -U first user   -d domain
 * -F reverse-path and author   -a user:password, signed in with (AUTH PLAIN) where that is offered
 * -M FILE  mails that are made, each a line "ADDRESS HELO REVERSE-PATH OCTETS" and its octets, dots
 *          stuffed, from number -O on; a proxy at 127.0.0.2 says that each comes from its ADDRESS
 * -i N  open N idle connections (greeting, EHLO), -c at a time; hold them until standard input
 *       ends, -T seconds at most
 *
 * "acked" counts the 250 replies to the final dot.
 */
#include "conn.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const char *host = "127.0.0.1", *domain = "example.test", *local = "u%d";
static const char *sender = "bench@example.org";
static char sign_in[512]; /* the command, "" for none */
static int port = 2525, sessions = 20, rcpts = 1, keep, pipeline, users = 100, user0, idle, waitquit;
static int timeout_s = 20, chunk = 4, with_tls, together;
static long mails;
static double seconds, offered, t_begin, t_end;
static size_t mail_octets = 4096, body_octets;
static char *body;
static long next_mail;
static unsigned run_id;
static pthread_barrier_t gate;

/* Mails that were made beforehand. */
struct made {
    char address[48], helo[128], sender[256];
    const char *octets;
    size_t size;
};
static struct made *made;
static long made_count, made_from;

static void read_made(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) < 0 || !about.st_size) exit(2);
    char *all = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (all == MAP_FAILED) exit(2);
    for (char *at = all; at < all + about.st_size;) {
        if (made_count % 1024 == 0) made = realloc(made, (made_count + 1024) * sizeof *made);
        struct made *m = &made[made_count++];
        char line[512] = "", *end = memchr(at, '\n', all + about.st_size - at);
        if (!end || end - at >= (long)sizeof line) exit(2);
        memcpy(line, at, end - at);
        if (sscanf(line, "%47s %127s %255s %zu", m->address, m->helo, m->sender, &m->size) != 4) exit(2);
        m->octets = end + 1;
        at = end + 1 + m->size;
    }
    close(fd);
    conn_source = "127.0.0.2";
}
static struct made *made_mail(long no) { return &made[(made_from + no) % made_count]; }

struct session {
    pthread_t thread;
    long acked, failed, conns, connfail;
    double last;
    struct samples latency;
    char *whole; /* a mail in one piece, for TLS */
};

/* Reads one reply, of one line or several; the code, or less than 0. */
static int reply(struct conn *c, const char *where, int want) {
    size_t n;
    char *s;
    do {
        if (!(s = conn_line(c, &n))) {
            note_text(where, "connection lost");
            return -1;
        }
        if (n < 4) return -1;
    } while (s[3] == '-');
    int code = (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
    if (code / 100 == want) return code;
    note(where, s, n);
    return -code;
}
static int say_hello(struct conn *c, const char *helo) {
    size_t n;
    char *s, text[192];
    int auth = 0;
    snprintf(text, sizeof text, "EHLO %s\r\n", helo);
    if (conn_say(c, text) < 0) return -1;
    do {
        if (!(s = conn_line(c, &n)) || n < 5 || s[0] != '2') {
            note("ehlo", s, s ? n : 0);
            return -1;
        }
        auth |= n > 9 && !strncmp(s + 4, "AUTH ", 5);
    } while (s[3] == '-');
    if (!auth || !sign_in[0]) return 0;
    return conn_say(c, sign_in) < 0 ? -1 : reply(c, "auth", 2);
}
static int greet(struct conn *c, long no) {
    const char *helo = made ? made_mail(no)->helo : "client.example.org";
    char proxy[128];
    snprintf(proxy, sizeof proxy, "PROXY TCP4 %s 127.0.0.1 40000 25\r\n", made ? made_mail(no)->address : "");
    if (made && conn_say(c, proxy) < 0) return -1;
    if (reply(c, "banner", 2) < 0 || say_hello(c, helo) < 0) return -1;
    if (!with_tls) return 0;
    if (conn_say(c, "STARTTLS\r\n") < 0 || reply(c, "starttls", 2) < 0) return -1;
    return conn_handshake(c) < 0 || say_hello(c, helo) < 0 ? -1 : 0;
}
static int recipient(char *to, long number) {
    char name[64];
    snprintf(name, sizeof name, local, user0 + (int)(number % users));
    return sprintf(to, "%s@%s", name, domain);
}
static int rcpt(char *to, long number) {
    int n = sprintf(to, "RCPT TO:<");
    n += recipient(to + n, number);
    return n + sprintf(to + n, ">\r\n");
}
static int envelope(struct conn *c, long no) {
    char text[65536];
    int n = snprintf(text, 1024, "MAIL FROM:<%s>\r\n", made ? made_mail(no)->sender : sender);
    if (pipeline) {
        for (int i = 0; i < rcpts; i++) n += rcpt(text + n, no * rcpts + i);
        n += sprintf(text + n, "DATA\r\n");
    }
    if (conn_send(c, text, n) < 0 || reply(c, "mail", 2) < 0) return -1;
    for (int i = 0; i < rcpts; i++) {
        if (!pipeline && conn_send(c, text, rcpt(text, no * rcpts + i)) < 0) return -1;
        if (reply(c, "rcpt", 2) < 0) return -1;
    }
    if (!pipeline && conn_say(c, "DATA\r\n") < 0) return -1;
    return reply(c, "data", 3);
}
static int send_pieces(struct conn *c, struct iovec *v, int n) {
    struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
    while (m.msg_iovlen) {
        ssize_t k = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return -1;
        while (m.msg_iovlen && (size_t)k >= m.msg_iov->iov_len) {
            k -= m.msg_iov++->iov_len;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen) {
            m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + k;
            m.msg_iov->iov_len -= k;
        }
    }
    return 0;
}
static int send_mail(struct session *t, struct conn *c, long no) {
    char head[512], to[128];
    if (made) {
        struct made *m = made_mail(no);
        return conn_send(c, m->octets, m->size) < 0 ? -1 : conn_say(c, ".\r\n");
    }
    recipient(to, no * rcpts);
    int h = snprintf(head, sizeof head,
                     "From: Bench <%s>\r\nTo: %s\r\n"
                     "Subject: bench message %ld\r\nDate: Sun, 22 Nov 2026 03:00:00 +0000\r\n"
                     "Message-ID: <%u.%ld@client.example.org>\r\nMIME-Version: 1.0\r\n"
                     "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
                     sender, to, no, run_id, no);
    size_t want = mail_octets > (size_t)h ? mail_octets - h : 0;
    want -= want % 74; /* ends with a line */
    if (!c->ssl) {
        struct iovec v[3] = {{head, h}, {body, want}, {".\r\n", 3}};
        return send_pieces(c, v, 3);
    }
    memcpy(t->whole, head, h);
    memcpy(t->whole + h, body, want);
    memcpy(t->whole + h + want, ".\r\n", 3);
    return conn_send(c, t->whole, h + want + 3);
}
static void *run_session(void *a) {
    struct session *t = a;
    struct conn c;
    conn_make(&c, 65536);
    if (with_tls) t->whole = malloc(mail_octets + 1024);
    if (together) pthread_barrier_wait(&gate);
    for (;;) {
        if (seconds && now() >= t_end) break;
        long no = __atomic_fetch_add(&next_mail, 1, __ATOMIC_RELAXED);
        if (mails && no >= mails) break;
        double began = now();
        if (offered) {
            began = t_begin + no / offered;
            if (seconds && began >= t_end) break;
            sleep_until(began);
        }
        if (c.fd < 0) {
            t->conns++;
            if (conn_open(&c, host, port, timeout_s) < 0 || greet(&c, no) < 0) {
                t->failed++;
                conn_close(&c);
                if (++t->connfail > 200) break;
                usleep(5000);
                continue;
            }
        }
        int ok = envelope(&c, no) > 0 && send_mail(t, &c, no) == 0 && reply(&c, "dot", 2) > 0;
        if (ok) {
            t->last = now();
            t->acked++;
            sample(&t->latency, t->last - began);
        } else
            t->failed++;
        if (!ok || !keep) {
            size_t n;
            if (conn_say(&c, "QUIT\r\n") == 0 && ok && waitquit) conn_line(&c, &n);
            conn_close(&c);
            if (t->failed > 500) break;
        }
    }
    if (c.fd >= 0) {
        conn_say(&c, "QUIT\r\n");
        conn_close(&c);
    }
    free(t->whole);
    free(c.buf);
    return NULL;
}
/* A few at a time: some servers hold the greeting back, some have a tiny backlog. */
static int run_idle(void) {
    struct conn *all = calloc(idle, sizeof *all);
    char *buffer = malloc(65536);
    int opened = 0, bad = 0, n = 0;
    double began = now();
    while (n < idle && bad < 3 && now() - began < 180) {
        int from = n;
        for (; n < idle && n < from + chunk && bad < 3; n++)
            if (conn_open(&all[n], host, port, 5) < 0) bad++;
        for (int i = from; i < n; i++) {
            if (all[i].fd < 0) continue;
            all[i].buf = buffer; /* replies are read in turn */
            all[i].cap = 65536;
            if (bad < 3 && greet(&all[i], i) == 0) {
                opened++;
                continue;
            }
            bad++;
            conn_close(&all[i]);
        }
    }
    printf("{\"opened\": %d, \"open_s\": %.3f, \"first_error\": \"%s\"}\n", opened, now() - began, first_error);
    fflush(stdout);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    poll(&input, 1, (int)(seconds * 1000));
    for (int i = 0; i < n; i++)
        if (all[i].fd >= 0) conn_close(&all[i]);
    return 0;
}
static void set_sign_in(const char *who) {
    unsigned char plain[256], encoded[400];
    int n = snprintf((char *)plain + 1, sizeof plain - 1, "%s", who) + 1;
    char *colon = strchr((char *)plain + 1, ':');
    if (!colon || n >= (int)sizeof plain) exit(2);
    plain[0] = *colon = 0;
    EVP_EncodeBlock(encoded, plain, n);
    snprintf(sign_in, sizeof sign_in, "AUTH PLAIN %s\r\n", encoded);
}
int main(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "H:p:s:T:m:l:r:kPZWAR:f:u:U:d:i:t:c:F:a:M:O:")) != -1) switch (o) {
        case 'H': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'M': read_made(optarg); break;
        case 'O': made_from = atol(optarg); break;
        case 's': sessions = atoi(optarg); break;
        case 'T': seconds = atof(optarg); break;
        case 'm': mails = atol(optarg); break;
        case 'l': mail_octets = atol(optarg); break;
        case 'r': rcpts = atoi(optarg); break;
        case 'k': keep = 1; break;
        case 'P': pipeline = 1; break;
        case 'Z': with_tls = 1; break;
        case 'W': waitquit = 1; break;
        case 'A': together = 1; break;
        case 'R': offered = atof(optarg); break;
        case 'f': local = optarg; break;
        case 'u': users = atoi(optarg); break;
        case 'U': user0 = atoi(optarg); break;
        case 'd': domain = optarg; break;
        case 'i': idle = atoi(optarg); break;
        case 't': timeout_s = atoi(optarg); break;
        case 'c': chunk = atoi(optarg); break;
        case 'F': sender = optarg; break;
        case 'a': set_sign_in(optarg); break;
        default: return 2;
        }
    if (!mails && !seconds) mails = 100;
    if (rcpts < 1 || rcpts > 500 || users < 1 || sessions < 1 || chunk < 1) return 2;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (with_tls) tls_make();
    run_id = (unsigned)time(NULL) * 31u + getpid();
    if (idle) return run_idle();
    body_octets = mail_octets + 74;
    body_octets -= body_octets % 74;
    body = malloc(body_octets + 74);
    for (size_t i = 0; i < body_octets; i += 74) {
        for (int j = 0; j < 72; j++) body[i + j] = 'a' + (i / 74 + j) % 26;
        body[i + 72] = '\r';
        body[i + 73] = '\n';
    }
    struct session *all = calloc(sessions, sizeof *all);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    pthread_barrier_init(&gate, NULL, sessions + 1);
    t_begin = now();
    t_end = t_begin + seconds;
    for (int i = 0; i < sessions; i++)
        if (pthread_create(&all[i].thread, &small, run_session, &all[i])) return 3;
    if (together) {
        pthread_barrier_wait(&gate);
        t_begin = now();
    }
    long acked = 0, failed = 0, conns = 0, connfail = 0;
    double last = t_begin;
    struct samples latency = {0};
    for (int i = 0; i < sessions; i++) {
        pthread_join(all[i].thread, NULL);
        acked += all[i].acked;
        failed += all[i].failed;
        conns += all[i].conns;
        connfail += all[i].connfail;
        if (all[i].last > last) last = all[i].last;
        samples_join(&latency, &all[i].latency);
    }
    samples_sort(&latency);
    double took = last - t_begin;
    printf("{\"acked\": %ld, \"failed\": %ld, \"conns\": %ld, \"connfail\": %ld, \"secs\": %.4f, "
           "\"rate\": %.1f, \"p50_ms\": %.2f, \"p95_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, "
           "\"client_cpu_s\": %.3f, \"began\": %.6f, \"ended\": %.6f, \"first_error\": \"%s\"}\n",
           acked, failed, conns, connfail, took, took > 0 ? acked / took : 0, part_ms(&latency, .5),
           part_ms(&latency, .95), part_ms(&latency, .99), part_ms(&latency, 1), cpu_self(), t_begin, last,
           first_error);
    return 0;
}
