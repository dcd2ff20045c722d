/* The server's life: where it listens, how libmicrohttpd is set up, how it ends.
 *
 * What libmicrohttpd refuses before it calls us (malformed HTTP, too large headers, an unknown HTTP version) is answered
 * by itself with a short HTML text: 0.9.75 has no hook for that. Everything else is a problem object of ours. */
#include "http/http.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/world.h"
#include "http/clock.h"
#include "http/exporter.h"
#include "http/feed.h"
#include "http/prompt.h"
#include "http/server.h"
#include "http/tls.h"

#define BACKLOG 1024
#define CONNECTION_BYTES (32u << 10) /* of request line and headers; more is 431 */
#define CONNECTION_INCREMENT (4u << 10)
#define IDLE_TIMEOUT_S 75u
#define BETWEEN_REQUESTS_MS 90000u /* a client that trickles is never silent: see http_tend */

/* --- where to listen --------------------------------------------------------------------------------- */

struct listen_address {
        char host[NI_MAXHOST], port[NI_MAXSERV];
        struct sockaddr_storage socket;
        socklen_t len;
        bool loopback;
};

/* "host:port" or "[v6]:port" */
static int split_address(const char *text, struct listen_address *ret, struct error *err) {
        const char *colon = strrchr(text, ':');
        bool bracketed = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
        size_t len = colon ? (size_t)(colon - text) - (bracketed ? 2 : 0) : 0;
        const char *host = bracketed ? text + 1 : text;
        size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
        if (!colon || len == 0 || len >= sizeof ret->host || digits == 0 || digits > 5 || colon[1 + digits] || atol(colon + 1) > 65535 ||
            (!bracketed && memchr(host, ':', len)))
                return error_set(err, -EINVAL, "listen: expected ADDRESS:PORT, got '%s'", text);
        memcpy(ret->host, host, len);
        ret->host[len] = 0;
        memcpy(ret->port, colon + 1, digits + 1);
        return 0;
}

static bool is_loopback(const struct sockaddr *address) {
        if (address->sa_family == AF_INET)
                return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static int resolve(const char *text, struct listen_address *ret, struct error *err) {
        int r = split_address(text, ret, err);
        if (r < 0)
                return r;
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
        r = getaddrinfo(ret->host, ret->port, &hints, &list);
        if (r != 0)
                return error_set(err, -EINVAL, "listen: '%s': %s", ret->host, gai_strerror(r));
        memcpy(&ret->socket, list->ai_addr, list->ai_addrlen);
        ret->len = list->ai_addrlen;
        ret->loopback = is_loopback(list->ai_addr);
        freeaddrinfo(list);
        return 0;
}

/* What an inherited socket listens on. */
static int describe_socket(int fd, struct listen_address *ret, struct error *err) {
        int type = 0, accepting = 0;
        ret->len = sizeof ret->socket;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &(socklen_t){sizeof accepting}) < 0 ||
            getsockname(fd, (struct sockaddr *)&ret->socket, &ret->len) < 0)
                return error_set(err, -errno, "the socket that was handed over: %s", strerror(errno));
        int family = ret->socket.ss_family;
        if (type != SOCK_STREAM || !accepting || (family != AF_INET && family != AF_INET6))
                return error_set(err, -EINVAL, "the socket that was handed over is not one that listens on a TCP port");
        int r = getnameinfo((const struct sockaddr *)&ret->socket, ret->len, ret->host, sizeof ret->host, ret->port, sizeof ret->port,
                            NI_NUMERICHOST | NI_NUMERICSERV);
        if (r != 0)
                return error_set(err, -EINVAL, "the socket that was handed over: %s", gai_strerror(r));
        ret->loopback = is_loopback((const struct sockaddr *)&ret->socket);
        return 0;
}

static int check(const struct http_config *config, struct listen_address *ret, struct error *err) {
        int r = config->listen_fd > 0 ? describe_socket(config->listen_fd, ret, err) : resolve(config->listen, ret, err);
        if (r < 0)
                return r;
        if (config->no_auth && !ret->loopback)
                return error_set(err, -EACCES, "--no-auth is for loopback addresses only, and '%.64s' is none: make tokens with 'sweepd token create' and leave it out", ret->host);
        if (!config->tls_cert != !config->tls_key)
                return error_set(err, -EINVAL, "--tls-cert and --tls-key go together");
        return 0;
}

int http_check(const struct http_config *config, struct error *err) {
        struct listen_address address = {0};
        return check(config, &address, err);
}

int http_check_callers(const struct http_config *config, struct error *err) {
        int n_tokens = config->tokens ? tokens_count(config->tokens, world_wall_ms(world_real())) : 0;
        if (n_tokens < 0)
                return error_set(err, n_tokens, "cannot read the tokens");
        if (n_tokens == 0 && !config->no_auth)
                return error_set(err, -EACCES, "nobody could call: make a token with 'sweepd token create', give --token-file, or --no-auth on a "
                                               "loopback address");
        return 0;
}

static int listen_on(const struct listen_address *address, const char *text, struct error *err) {
        _cleanup_fd_ int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_set(err, -errno, "listen: %s", strerror(errno));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (address->socket.ss_family == AF_INET6)
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){address->loopback}, sizeof(int));
        if (bind(fd, (const struct sockaddr *)&address->socket, address->len) < 0 || listen(fd, BACKLOG) < 0)
                return error_set(err, -errno, "cannot listen on %s: %s%s", text, strerror(errno),
                                 errno == EADDRINUSE ? "; another program is there: --listen ADDR:0 takes any free port" : "");
        int listening = fd;
        fd = -1;
        return listening;
}

int http_check_address(const struct http_config *config, struct error *err) {
        struct listen_address address = {0};
        int r = check(config, &address, err);
        if (r < 0 || config->listen_fd > 0)
                return r;
        _cleanup_fd_ int fd = listen_on(&address, config->listen, err);
        return fd < 0 ? fd : 0;
}

int http_check_certificate(const char *cert, const char *key, int64_t *ret_from_s, int64_t *ret_to_s, struct error *err) {
        return tls_check(cert, key, ret_from_s, ret_to_s, err);
}

static int bound_port(int fd) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
                return 0;
        return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port : ((struct sockaddr_in6 *)&address)->sin6_port);
}

/* --- libmicrohttpd ----------------------------------------------------------------------------------- */

static void log_library(void *cls, const char *format, va_list ap) {
        (void)cls;
        char text[512];
        vsnprintf(text, sizeof text, format, ap);
        size_t len = strlen(text);
        if (len > 0 && text[len - 1] == '\n')
                text[len - 1] = 0;
        log_debug("http", log_s("detail", text));
}

/* %00 would cut the text short for everyone who reads it: another control character stands for it, which fits nothing either. */
static size_t unescape(void *cls, struct MHD_Connection *connection, char *text) {
        (void)cls;
        (void)connection;
        for (char *nul = text; (nul = strstr(nul, "%00"));)
                nul[2] = '1';
        return MHD_http_unescape(text);
}

/* --- connections that wait ---------------------------------------------------------------------------
 * libmicrohttpd's timeout is about silence, and calls us only when all headers are there: a client that sends a byte now
 * and then would keep its connection for ever. So every connection is in a list with the time since when it owes a request. */

static void list_add(struct http *http, struct connection *connection) {
        connection->next = http->connections;
        if (connection->next)
                connection->next->previous = connection;
        http->connections = connection;
}

static void list_remove(struct http *http, struct connection *connection) {
        if (connection->previous)
                connection->previous->next = connection->next;
        else
                http->connections = connection->next;
        if (connection->next)
                connection->next->previous = connection->previous;
}

/* On the server's thread; the socket is open in both cases. */
static void note_connection(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what) {
        struct http *http = cls;
        if (what == MHD_CONNECTION_NOTIFY_STARTED) {
                const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
                struct connection *connection = info ? calloc(1, sizeof *connection) : NULL;
                if (!connection)
                        return;
                connection->fd = info->connect_fd;
                connection->owes_since_ms = clock_mono_ms();
                *context = connection;
                pthread_mutex_lock(&http->lock);
                list_add(http, connection);
                pthread_mutex_unlock(&http->lock);
        } else if (*context) {
                pthread_mutex_lock(&http->lock);
                list_remove(http, *context);
                pthread_mutex_unlock(&http->lock);
                free(*context);
                *context = NULL;
        }
}

void http_tend(struct http *http) {
        uint64_t now = clock_mono_ms();
        size_t n = 0;
        pthread_mutex_lock(&http->lock);
        for (struct connection *connection = http->connections; connection; connection = connection->next)
                if (connection->owes_since_ms > 0 && now - connection->owes_since_ms > BETWEEN_REQUESTS_MS) {
                        shutdown(connection->fd, SHUT_RDWR); /* libmicrohttpd finds it closed */
                        n++;
                }
        pthread_mutex_unlock(&http->lock);
        if (n > 0)
                log_info("cut connections that sent no request", log_i("n", n));
}

static struct MHD_Daemon *start_daemon(struct http *http, int fd) {
        const struct http_config *config = &http->config;
        struct MHD_OptionItem tls[] = {
                {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_callback()},
                {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES},
                {MHD_OPTION_END, 0, NULL},
        };
        struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
        unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (config->tls_cert ? MHD_USE_TLS : 0);
        return MHD_start_daemon(flags, 0, NULL, NULL, exchange_handle, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
                                exchange_completed, http, MHD_OPTION_NOTIFY_CONNECTION, note_connection, http, MHD_OPTION_CONNECTION_LIMIT,
                                config->max_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, config->max_connections_per_address,
                                MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                                MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)CONNECTION_INCREMENT, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY,
                                config->tls_cert ? tls : none, MHD_OPTION_END);
}

/* --- public ------------------------------------------------------------------------------------------ */

int http_open(const struct http_config *config, struct http **ret, struct error *err) {
        struct listen_address address = {0};
        int r = check(config, &address, err);
        if (r == 0)
                r = http_check_callers(config, err);
        if (r < 0)
                return r;
        if (config->tls_cert) {
                r = tls_use(config->tls_cert, config->tls_key, err);
                if (r < 0)
                        return r;
        }
        int fd = config->listen_fd > 0 ? fcntl(config->listen_fd, F_DUPFD_CLOEXEC, 3) : listen_on(&address, config->listen, err);
        if (fd < 0)
                return config->listen_fd > 0 ? error_set(err, -errno, "the socket that was handed over: %s", strerror(errno)) : fd;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        struct http *http = calloc(1, sizeof *http);
        if (!http) {
                close(fd);
                return error_set(err, -ENOMEM, "out of memory");
        }
        http->config = *config;
        if (address.loopback)
                http->config.max_connections_per_address = 0;
        http->quiesced_fd = -1;
        http->begun_s = (double)world_wall_ms(world_real()) / 1000;
        pthread_mutex_init(&http->lock, NULL);
        condition_init(&http->idle);
        bool v6 = address.socket.ss_family == AF_INET6 && strchr(address.host, ':');
        snprintf(http->url, sizeof http->url, "%s://%s%.64s%s:%d", config->tls_cert ? "https" : "http", v6 ? "[" : "", address.host,
                 v6 ? "]" : "", bound_port(fd));
        thread_set_prompt(true); /* its thread is */
        struct MHD_Daemon *daemon = start_daemon(http, fd);
        thread_set_prompt(false);
        pthread_mutex_lock(&http->lock);
        http->daemon = daemon; /* its thread may be at a request already */
        pthread_mutex_unlock(&http->lock);
        if (!http->daemon) {
                close(fd);
                http_close(http);
                return error_set(err, -EIO, "cannot start the HTTP server");
        }
        *ret = http;
        return 0;
}

int http_set_certificate(struct http *http, const char *cert, const char *key, struct error *err) {
        if (!http->config.tls_cert)
                return error_set(err, -EINVAL, "the server was started without TLS");
        return tls_use(cert, key, err);
}

const char *http_url(const struct http *http) {
        return http->url;
}

void http_drain(struct http *http) {
        pthread_mutex_lock(&http->lock);
        http->draining = true;
        pthread_mutex_unlock(&http->lock);
        feed_close(http->config.feed);
        exporter_close(http->config.exporter);
        /* Refuses from here on, but stays open until libmicrohttpd's thread, which may still hold its number, has ended. A socket
         * that was handed over is not ours to shut: who connects now waits in it for our successor. */
        http->quiesced_fd = MHD_quiesce_daemon(http->daemon);
        if (http->quiesced_fd >= 0 && http->config.listen_fd <= 0)
                shutdown(http->quiesced_fd, SHUT_RDWR);
}

bool http_wait_idle(struct http *http, unsigned timeout_ms) {
        struct timespec until = clock_at(clock_mono_ms() + timeout_ms);
        pthread_mutex_lock(&http->lock);
        int r = 0;
        while (http->n_active > 0 && r == 0)
                r = pthread_cond_timedwait(&http->idle, &http->lock, &until);
        bool idle = http->n_active == 0;
        pthread_mutex_unlock(&http->lock);
        return idle;
}

void http_close(struct http *http) {
        if (!http)
                return;
        feed_close(http->config.feed); /* libmicrohttpd must not be stopped while connections are suspended */
        if (http->daemon)
                MHD_stop_daemon(http->daemon);
        if (http->quiesced_fd >= 0)
                close(http->quiesced_fd);
        if (http->config.tls_cert)
                tls_forget();
        pthread_cond_destroy(&http->idle);
        pthread_mutex_destroy(&http->lock);
        free(http);
}
