/* A load on the coordinator's HTTP interface, from one thread with epoll and little work of its own, since it shares the
 * machine with what it measures. load.py prepares the coordinator and calls it.
 *
 *     load_client reports PORT SECONDS FILE [PAUSE_MS]   a connection for each line "TRIAL LEASE" of FILE; each reports one
 *                                                        metric point after the other (PAUSE_MS 0: without pause)
 *     load_client claims PORT SECONDS FILE [PAUSE_MS]    a connection for each line "WORKER SWEEP"; each claims a trial and
 *                                                        completes it, then pauses (250: four times a second)
 *
 * One line of JSON: requests a second, and latencies of the reports or claims in ms: until the answer was read, and (arrived_) until
 * the kernel had it in the socket, which leaves out what this program was late to read. client_late_: that lateness, and by how much
 * requests left after they were due. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_SAMPLES 4000000

struct connection {
        int fd;
        char first[48], second[48]; /* trial and lease, or worker and sweep */
        char trial[48], lease[48];  /* as claimed */
        unsigned long n;
        bool is_claiming, is_waiting;
        uint64_t sent_ns, due_ns, arrived_ns; /* arrived: the answer's last byte in the socket */
        size_t length;
        char answer[16384], request[2048]; /* the last one; sent again when the connection is lost */
        size_t request_length;
};

static struct connection connections[MAX_CONNECTIONS];
static size_t n_connections, n_samples, n_answers, n_lost; /* connections that were closed under us */
static uint16_t port;
static int epoll;
static float *samples, *arrived, *late, *late_sent;
static size_t n_late_sent;
static bool is_claims;
static uint64_t pause_ns; /* of a connection, from one round's due time to the next */

static uint64_t nanoseconds(const struct timespec *t) {
        return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

/* The clock that the kernel stamps what arrives with. */
static uint64_t now_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return nanoseconds(&t);
}

static void die(const char *what) {
        fprintf(stderr, "load_client: %s\n", what);
        exit(1);
}

static void send_request(struct connection *c) {
        c->length = 0;
        if (write(c->fd, c->request, c->request_length) != (ssize_t)c->request_length && errno != EPIPE && errno != ECONNRESET)
                die("cannot send");
}

static void post(struct connection *c, const char *path, const char *body) {
        int n = snprintf(c->request, sizeof c->request,
                         "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", path,
                         strlen(body), body);
        c->request_length = (size_t)n;
        c->is_waiting = true;
        c->sent_ns = now_ns();
        send_request(c);
}

static void send_report(struct connection *c) {
        char path[128], body[512];
        c->n++;
        snprintf(path, sizeof path, "/v1/trials/%s/report", c->first);
        snprintf(body, sizeof body, "{\"lease\":\"%s\",\"seq\":%lu,\"metrics\":[{\"name\":\"loss\",\"step\":%lu,\"value\":0.5}]}", c->second,
                 c->n, c->n);
        post(c, path, body);
}

static void send_claim(struct connection *c) {
        char body[512];
        c->is_claiming = true;
        snprintf(body, sizeof body, "{\"worker\":\"%s\",\"claim_id\":\"c%lu\",\"slots\":1,\"wait_s\":10,\"sweep\":\"%s\"}", c->first, ++c->n,
                 c->second);
        post(c, "/v1/claims", body);
}

static void send_completion(struct connection *c) {
        char path[128], body[512];
        c->is_claiming = false;
        snprintf(path, sizeof path, "/v1/trials/%s/report", c->trial);
        snprintf(body, sizeof body, "{\"lease\":\"%s\",\"seq\":1,\"outcome\":{\"state\":\"completed\",\"value\":0.5}}", c->lease);
        post(c, path, body);
}

/* The text of the first member of this name. */
static void take_text(const char *json, const char *name, char ret[static 48]) {
        char key[32];
        snprintf(key, sizeof key, "\"%s\":\"", name);
        const char *at = strstr(json, key);
        if (!at)
                die("an answer lacks what was asked for");
        at += strlen(key);
        snprintf(ret, 48, "%.*s", (int)strcspn(at, "\""), at);
}

static void take_answer(struct connection *c, const char *body) {
        if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) {
                fprintf(stderr, "%.300s\n", c->answer);
                die("refused");
        }
        n_answers++;
        c->is_waiting = false;
        uint64_t now = now_ns();
        if ((!is_claims || c->is_claiming) && n_samples < MAX_SAMPLES) {
                samples[n_samples] = (float)(now - c->sent_ns) / 1e6f;
                arrived[n_samples] = (float)(c->arrived_ns - c->sent_ns) / 1e6f;
                late[n_samples++] = (float)(now - c->arrived_ns) / 1e6f;
        }
        if (!is_claims && pause_ns == 0)
                send_report(c);
        else if (is_claims && c->is_claiming) {
                take_text(body, "id", c->trial);
                take_text(body, "lease", c->lease);
                send_completion(c);
        } else
                c->due_ns = c->due_ns + pause_ns > now ? c->due_ns + pause_ns : now;
}

static int open_connection(void) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                die("cannot connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        return fd;
}

static void connect_client(struct connection *c) {
        c->fd = open_connection();
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
}

/* A server may close a connection that was silent for long; whatever was asked is asked again. */
static void connect_again(struct connection *c) {
        close(c->fd);
        connect_client(c);
        n_lost++;
        if (c->is_waiting)
                send_request(c);
}

/* Reads, and notes when the kernel had it. */
static ssize_t read_stamped(struct connection *c) {
        union {
                struct cmsghdr head;
                char bytes[256];
        } control;
        struct iovec part = {c->answer + c->length, sizeof c->answer - 1 - c->length};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(c->fd, &message, 0);
        c->arrived_ns = now_ns();
        for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); n > 0 && one; one = CMSG_NXTHDR(&message, one))
                if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS) {
                        struct timespec stamp;
                        memcpy(&stamp, CMSG_DATA(one), sizeof stamp);
                        if (nanoseconds(&stamp) > c->sent_ns)
                                c->arrived_ns = nanoseconds(&stamp);
                }
        return n;
}

static void receive(struct connection *c) {
        ssize_t n = read_stamped(c);
        if (n <= 0 && pause_ns == 0)
                die("a connection was closed");
        if (n <= 0) {
                connect_again(c);
                return;
        }
        c->length += (size_t)n;
        c->answer[c->length] = 0;
        const char *body = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "content-length:");
        if (!body || !length)
                return;
        body += 4;
        if (c->length - (size_t)(body - c->answer) >= strtoul(length + 15, NULL, 10))
                take_answer(c, body);
}

static void start(const char *path) {
        FILE *file = fopen(path, "r");
        if (!file)
                die("no such file");
        struct connection *c = connections;
        for (; n_connections < MAX_CONNECTIONS && fscanf(file, "%47s %47s", c->first, c->second) == 2; c++, n_connections++)
                connect_client(c);
        fclose(file);
        for (size_t i = 0; i < n_connections; i++)
                connections[i].due_ns = now_ns() + pause_ns * i / n_connections;
        for (size_t i = 0; i < n_connections && pause_ns == 0; i++)
                send_report(&connections[i]);
}

static void send_due(void) {
        uint64_t now = now_ns();
        for (size_t i = 0; i < n_connections; i++)
                if (!connections[i].is_waiting && connections[i].due_ns <= now) {
                        if (n_late_sent < MAX_SAMPLES)
                                late_sent[n_late_sent++] = (float)(now_ns() - connections[i].due_ns) / 1e6f;
                        is_claims ? send_claim(&connections[i]) : send_report(&connections[i]);
                }
}

static int compare(const void *left, const void *right) {
        float a = *(const float *)left, b = *(const float *)right;
        return (a > b) - (a < b);
}

static float share(float *values, size_t n, double of) {
        qsort(values, n, sizeof *values, compare);
        return n > 0 ? values[(size_t)((double)(n - 1) * of)] : 0;
}

int main(int argc, char **argv) {
        if (argc != 5 && argc != 6)
                die("usage: load_client reports|claims PORT SECONDS FILE [PAUSE_MS]");
        is_claims = strcmp(argv[1], "claims") == 0;
        pause_ns = argc == 6 ? strtoul(argv[5], NULL, 10) * 1000000 : is_claims ? 250000000 : 0;
        if (is_claims && pause_ns == 0)
                die("claims need a pause");
        samples = malloc(4 * MAX_SAMPLES * sizeof *samples);
        arrived = samples + MAX_SAMPLES;
        late = arrived + MAX_SAMPLES;
        late_sent = late + MAX_SAMPLES;
        signal(SIGPIPE, SIG_IGN);
        port = (uint16_t)strtol(argv[2], NULL, 10);
        epoll = epoll_create1(0);
        if (!samples || epoll < 0)
                die("no memory");
        start(argv[4]);
        uint64_t begin = now_ns(), end = begin + (uint64_t)(strtod(argv[3], NULL) * 1e9);
        while (now_ns() < end) {
                struct epoll_event events[64];
                if (pause_ns > 0)
                        send_due();
                int n = epoll_wait(epoll, events, 64, pause_ns > 0 ? 1 : 100);
                for (int i = 0; i < n; i++)
                        receive(events[i].data.ptr);
        }
        double seconds = (double)(now_ns() - begin) / 1e9;
        if (n_samples == 0)
                die("no answer");
        printf("{\"requests_s\": %.0f, \"n\": %zu, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, \"lost\": %zu, ", (double)n_answers / seconds, n_samples,
               share(samples, n_samples, 0.5), share(samples, n_samples, 0.99), share(samples, n_samples, 1), n_lost);
        printf("\"arrived_p50_ms\": %.2f, \"arrived_p99_ms\": %.2f, \"client_late_reading_p99_ms\": %.2f, \"client_late_reading_max_ms\": %.2f, "
               "\"client_late_sending_p99_ms\": %.2f}\n",
               share(arrived, n_samples, 0.5), share(arrived, n_samples, 0.99), share(late, n_samples, 0.99), share(late, n_samples, 1),
               share(late_sent, n_late_sent, 0.99));
        return 0;
}
