/* What both load generators share: a blocking connection, plain or inside TLS, with a buffered
 * reader; the clock; samples. One thread a session: fewest system calls a reply, which matters
 * where client and server share two cores. */
#ifndef CONN_H
#define CONN_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#define MAYBE __attribute__((unused)) static

static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;
static char first_error[256];
static SSL_CTX *tls;
MAYBE const char *conn_source; /* which address of ours connections come from; NULL for any */

MAYBE double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
MAYBE void sleep_until(double when) {
    struct timespec t = {(time_t)when, (long)((when - (time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}
MAYBE double cpu_self(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6 + r.ru_stime.tv_sec + r.ru_stime.tv_usec / 1e6;
}
MAYBE void raise_descriptor_limit(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}
/* Keeps the first thing that went wrong, fit to stand in JSON. */
MAYBE void note(const char *where, const char *s, size_t n) {
    pthread_mutex_lock(&error_lock);
    if (!first_error[0]) {
        int k = snprintf(first_error, sizeof first_error, "%s: ", where);
        for (size_t i = 0; s && i < n && k < (int)sizeof first_error - 1; i++) {
            unsigned char c = s[i];
            if (c == '"' || c == '\\' || c < 32 || c > 126) c = ' ';
            first_error[k++] = c;
        }
    }
    pthread_mutex_unlock(&error_lock);
}
MAYBE void note_text(const char *where, const char *s) { note(where, s, strlen(s)); }

struct conn {
    int fd;
    SSL *ssl;
    size_t pos, len, cap;
    char *buf;
};
MAYBE void conn_make(struct conn *c, size_t cap) {
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->buf = malloc(c->cap = cap);
}
MAYBE void conn_close(struct conn *c) {
    if (c->ssl) SSL_free(c->ssl);
    if (c->fd >= 0) close(c->fd);
    c->ssl = NULL;
    c->fd = -1;
}
MAYBE int conn_open(struct conn *c, const char *host, int port, int timeout_s) {
    c->pos = c->len = 0;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) {
        note_text("socket", strerror(errno));
        return -1;
    }
    int one = 1;
    struct timeval tv = {timeout_s, 0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    if (conn_source) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        inet_pton(AF_INET, conn_source, &from.sin_addr);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0) note_text("bind", strerror(errno));
    }
    inet_pton(AF_INET, host, &a.sin_addr);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0) {
        note_text("connect", strerror(errno));
        conn_close(c);
        return -1;
    }
    return 0;
}
/* Full handshakes only: no session is kept, as between strangers. The certificate is not judged. */
MAYBE void tls_make(void) {
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(tls, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
}
MAYBE int conn_handshake(struct conn *c) {
    c->pos = c->len = 0;
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) == 1) return 0;
    note_text("tls", "handshake failed");
    return -1;
}
MAYBE int conn_send(struct conn *c, const char *p, size_t n) {
    if (c->ssl) return SSL_write(c->ssl, p, n) == (int)n ? 0 : -1;
    while (n) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return -1;
        p += k;
        n -= k;
    }
    return 0;
}
MAYBE int conn_say(struct conn *c, const char *text) { return conn_send(c, text, strlen(text)); }
static int conn_fill(struct conn *c) {
    if (c->pos) {
        memmove(c->buf, c->buf + c->pos, c->len - c->pos);
        c->len -= c->pos;
        c->pos = 0;
    }
    if (c->len == c->cap) return -1; /* the line is too long */
    ssize_t k;
    do
        k = c->ssl ? SSL_read(c->ssl, c->buf + c->len, c->cap - c->len)
                   : recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
    while (k < 0 && !c->ssl && errno == EINTR);
    if (k <= 0) return -1;
    c->len += k;
    return 0;
}
/* The next line, not copied, its LF counted in n; NULL at the end or an error. */
MAYBE char *conn_line(struct conn *c, size_t *n) {
    for (size_t seen = 0;;) {
        char *s = c->buf + c->pos;
        char *e = memchr(s + seen, '\n', c->len - c->pos - seen);
        if (e) {
            *n = e - s + 1;
            c->pos += *n;
            return s;
        }
        seen = c->len - c->pos;
        if (conn_fill(c) < 0) return NULL;
    }
}

struct samples {
    double *v;
    size_t n, cap;
};
MAYBE void sample(struct samples *s, double x) {
    if (s->n == s->cap) s->v = realloc(s->v, (s->cap = s->cap ? s->cap * 2 : 1024) * sizeof(double));
    s->v[s->n++] = x;
}
MAYBE void samples_join(struct samples *all, struct samples *s) {
    for (size_t i = 0; i < s->n; i++) sample(all, s->v[i]);
}
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
MAYBE void samples_sort(struct samples *s) {
    if (s->n) qsort(s->v, s->n, sizeof(double), ascending);
}
MAYBE double part_ms(struct samples *s, double p) {
    return s->n ? s->v[(size_t)(p * (s->n - 1) + 0.5)] * 1e3 : 0;
}
#endif
