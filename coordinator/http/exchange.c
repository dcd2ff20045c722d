/* One request, from its first header to its answer. libmicrohttpd calls exchange_handle again and again:
 *
 *   first call         headers are there: admit or refuse
 *   with upload data   the body grows; refused requests' bodies are read and dropped, so that the client, which is
 *                      still writing, gets to read its answer instead of a reset connection
 *   without            the body is complete: answer at once, or suspend and push an api_call
 *   after a resume     the core thread has left its answer */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/json.h"
#include "common/log.h"
#include "http/clock.h"
#include "http/exporter.h"
#include "http/feed.h"
#include "http/server.h"
#include "proto/openapi.h"

#define DROPPED_BYTES_MAX (256u << 20) /* of one refused body; then the connection is closed */
#define ALL_BODIES_FACTOR 16           /* bodies of all exchanges together: so many times the cap of one */
#define BODY_TIMEOUT_MS 300000         /* from the headers to the body's end; a trickle must not hold a connection for ever */

/* --- life -------------------------------------------------------------------------------------------- */

static struct connection *connection_of(struct MHD_Connection *connection) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return info ? info->socket_context : NULL;
}

static struct exchange *exchange_new(struct http *http, struct MHD_Connection *connection, const char *method, const char *path) {
        struct exchange *exchange = calloc(1, sizeof *exchange);
        if (!exchange)
                return NULL;
        exchange->http = http;
        exchange->connection = connection;
        exchange->method = method;
        exchange->path = path;
        exchange->begun_s = metrics_now_s();
        exchange->begun_ms = (uint64_t)(exchange->begun_s * 1000);
        exchange->route = N_ROUTES;
        exchange->body = BUF_INIT(http->config.max_body_bytes);
        struct connection *waiting = connection_of(connection);
        pthread_mutex_lock(&http->lock);
        http->n_active++;
        if (waiting)
                waiting->owes_since_ms = 0;
        pthread_mutex_unlock(&http->lock);
        return exchange;
}

static void drop_body(struct exchange *exchange) {
        exchange->http->body_bytes -= exchange->body.len;
        buf_fini(&exchange->body);
        exchange->body = BUF_INIT(exchange->http->config.max_body_bytes);
}

void exchange_completed(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode how) {
        struct http *http = cls;
        struct exchange *exchange = *con_cls;
        if (!exchange)
                return;
        log_debug("request", log_s("method", exchange->method), log_s("path", exchange->path), log_i("status", exchange->answer.status),
                  log_s("token", exchange->holder.name), log_i("bytes", exchange->received),
                  log_s("end", how == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "sent" : "cut"));
        drop_body(exchange);
        answer_fini(&exchange->answer);
        api_call_fini(&exchange->call);
        free(exchange);
        *con_cls = NULL;
        struct connection *waiting = connection_of(connection);
        pthread_mutex_lock(&http->lock);
        if (waiting)
                waiting->owes_since_ms = clock_mono_ms();
        if (--http->n_active == 0)
                pthread_cond_broadcast(&http->idle);
        pthread_mutex_unlock(&http->lock);
}

/* --- body -------------------------------------------------------------------------------------------- */

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t len) {
        struct http *http = exchange->http;
        exchange->received += len;
        bool too_late = clock_mono_ms() - exchange->begun_ms > BODY_TIMEOUT_MS;
        if (too_late || (exchange->received > DROPPED_BYTES_MAX && exchange->answer.status))
                return MHD_NO; /* closes the connection */
        if (exchange->answer.status || !exchange->has_body_method || exchange->wrong_type)
                return MHD_YES;
        if (exchange->received > http->config.max_body_bytes) {
                drop_body(exchange);
                answer_problem(&exchange->answer, 413, "the body is larger than %zu bytes", http->config.max_body_bytes);
                return MHD_YES;
        }
        if (http->body_bytes + len > ALL_BODIES_FACTOR * http->config.max_body_bytes) {
                drop_body(exchange);
                answer_problem(&exchange->answer, 429, "too many large bodies at once");
                return MHD_YES;
        }
        if (buf_append(&exchange->body, data, len) < 0) {
                drop_body(exchange);
                answer_problem(&exchange->answer, 503, "out of memory");
                return MHD_YES;
        }
        http->body_bytes += len;
        return MHD_YES;
}

static bool body_is_waited_for(const struct exchange *exchange) {
        const char *expect = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Expect");
        const char *length = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Content-Length");
        return expect || (length && strtoull(length, NULL, 10) > DROPPED_BYTES_MAX);
}

/* --- the api's calls --------------------------------------------------------------------------------- */

/* On the core thread. */
static void call_done(struct api_call *call) {
        struct exchange *exchange = call->transport;
        answer_from_response(&exchange->answer, &call->response);
        MHD_resume_connection(exchange->connection); /* the exchange is the server thread's again */
}

/* On the core thread. A client that has closed its side waits for nothing. */
static bool call_is_waiting(const struct api_call *call) {
        const struct exchange *exchange = call->transport;
        struct pollfd poller = {.fd = exchange->fd, .events = POLLRDHUP};
        return poll(&poller, 1, 0) <= 0 || !(poller.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

struct query_reader {
        json_t *query;
        struct faults faults;
        bool broken, short_of_memory;
};

static enum MHD_Result read_argument(void *cls, enum MHD_ValueKind kind, const char *key, const char *value) {
        (void)kind;
        struct query_reader *reader = cls;
        char pointer[256];
        errno = 0;
        json_t *text = json_string(value ? value : "");
        if (json_object_get(reader->query, key))
                faults_add(&reader->faults, pointer_join(pointer, sizeof pointer, "", key), "is given twice");
        if (json_object_set_new(reader->query, key, text) < 0) {
                reader->broken = true;
                reader->short_of_memory |= errno == ENOMEM;
        }
        return MHD_YES;
}

/* The query string as an object of strings; false with the answer filled. */
static bool read_query(struct exchange *exchange) {
        struct query_reader reader = {.query = json_object()};
        exchange->call.request.query = reader.query;
        MHD_get_connection_values(exchange->connection, MHD_GET_ARGUMENT_KIND, read_argument, &reader);
        if (!reader.query || reader.short_of_memory)
                answer_problem(&exchange->answer, 503, "out of memory");
        else if (reader.broken)
                answer_problem(&exchange->answer, 400, "the query is not UTF-8");
        else if (reader.faults.n_total > 0)
                answer_faults(&exchange->answer, "the query has faults", &reader.faults);
        faults_fini(&reader.faults);
        return !exchange->answer.status;
}

/* The body as JSON; an empty one is NULL. */
static bool read_body(struct exchange *exchange) {
        struct error err;
        if (exchange->received == 0 || !exchange->has_body_method)
                return true;
        if (exchange->wrong_type)
                answer_problem(&exchange->answer, 415, "the body must be application/json in UTF-8");
        else if (json_read(exchange->body.data, exchange->body.len, &exchange->call.request.body, &err) < 0)
                answer_problem(&exchange->answer, err.code == -ENOMEM ? 503 : 400, "%s", err.text);
        return !exchange->answer.status;
}

static bool read_idempotency_key(struct exchange *exchange) {
        struct api_request *request = &exchange->call.request;
        const char *key = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Idempotency-Key");
        if (!key || !exchange->has_body_method)
                return true;
        errno = 0;
        _cleanup_json_ json_t *utf8 = json_string(key);
        bool is_text = utf8 || errno == ENOMEM;
        request->idempotency_key = utf8 ? strdup(key) : NULL;
        request->body_sha256 = malloc(DIGEST_HEX_SIZE);
        if (!is_text)
                answer_problem(&exchange->answer, 422, "Idempotency-Key is not UTF-8");
        else if (!request->idempotency_key || !request->body_sha256)
                answer_problem(&exchange->answer, 503, "out of memory");
        else
                digest_bytes(exchange->body.data ? exchange->body.data : "", exchange->body.len, request->body_sha256);
        return !exchange->answer.status;
}

static void read_instance(struct exchange *exchange) {
        struct api_request *request = &exchange->call.request;
        const char *instance = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Worker-Instance");
        snprintf(request->instance, sizeof request->instance, "%s", instance ? instance : "");
}

/* Suspends first and pushes then: the answer may come before push returns. True when suspended: from then on the
 * answer is the core thread's to write, and nothing of it is looked at before the connection is resumed. */
static bool push_call(struct exchange *exchange) {
        struct http *http = exchange->http;
        struct api_call *call = &exchange->call;
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        exchange->fd = info ? info->connect_fd : -1;
        call->request.route = exchange->route;
        memcpy(call->request.id, exchange->id, sizeof call->request.id);
        call->request.token = exchange->holder.name;
        call->request.sweep_limit = exchange->holder.sweep[0] ? exchange->holder.sweep : NULL;
        call->done = call_done;
        call->is_waiting = call_is_waiting;
        call->transport = exchange;
        if (exchange->route == ROUTE_EVENTS && !feed_expect(http->config.feed)) {
                answer_problem(&exchange->answer, 503, "too many readers of events");
                return false;
        }
        pthread_mutex_lock(&http->lock);
        bool draining = http->draining, room = !draining && core_has_room(http->config.core);
        if (room) {
                exchange->suspended = true;
                MHD_suspend_connection(exchange->connection);
                core_push(http->config.core, call);
        }
        pthread_mutex_unlock(&http->lock);
        if (draining)
                answer_problem(&exchange->answer, 503, "the server is shutting down");
        else if (!room)
                answer_problem(&exchange->answer, 429, "too many requests in hand");
        return room;
}

/* --- routes that need no api ------------------------------------------------------------------------- */

static bool answer_here(struct exchange *exchange) {
        struct answer *answer = &exchange->answer;
        bool draining;
        switch (exchange->route) {
        case ROUTE_HEALTH:
                answer->static_text = "{\"status\":\"ok\"}";
                break;
        case ROUTE_READY:
                pthread_mutex_lock(&exchange->http->lock);
                draining = exchange->http->draining;
                bool ready = !draining && core_is_ready(exchange->http->config.core);
                pthread_mutex_unlock(&exchange->http->lock);
                if (!ready) {
                        answer_problem(answer, 503, draining ? "the server is shutting down" : "the database cannot be written");
                        return true;
                }
                answer->static_text = core_is_room_short(exchange->http->config.core)
                                              ? "{\"status\":\"ready\",\"detail\":\"the disk is nearly full: new work is refused\"}"
                                              : "{\"status\":\"ready\"}";
                break;
        case ROUTE_OPENAPI:
                answer->static_text = openapi_json;
                break;
        case ROUTE_PAGE:
        case ROUTE_ASSET:
                page_answer(exchange);
                return true;
        default:
                return false;
        }
        answer->status = 200;
        answer->content_type = "application/json";
        answer->text_len = strlen(answer->static_text);
        return true;
}

/* --- the handler ------------------------------------------------------------------------------------- */

static enum MHD_Result send_events(struct exchange *exchange) {
        if (strcmp(exchange->method, "HEAD") == 0)
                return answer_stream(&exchange->answer, exchange->connection, MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT));
        const char *last = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Last-Event-ID");
        const char *sweep = json_string_value(json_object_get(exchange->call.request.query, "sweep"));
        return answer_stream(&exchange->answer, exchange->connection,
                             feed_follow(exchange->http->config.feed, exchange->connection, last, sweep, &exchange->holder));
}

/* What the core thread has begun is read beside it while it is sent. */
static enum MHD_Result send_export(struct exchange *exchange) {
        struct api_response *response = &exchange->call.response;
        if (strcmp(exchange->method, "HEAD") == 0)
                return answer_stream(&exchange->answer, exchange->connection, MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT));
        struct MHD_Response *stream = exporter_send(exchange->http->config.exporter, exchange->connection, response->export);
        if (stream) {
                response->export = NULL;
                return answer_stream(&exchange->answer, exchange->connection, stream);
        }
        answer_problem(&exchange->answer, 503, "too many exports at once");
        return answer_send(&exchange->answer, exchange->connection, false);
}

static void complete_metrics(struct exchange *exchange) {
        struct answer *answer = &exchange->answer;
        char *text = measure_text(exchange->http, answer->text);
        free(answer->text);
        answer->text = text;
        answer->text_len = text ? strlen(text) : 0;
        if (!text)
                answer_problem(answer, 503, "out of memory");
}

static enum MHD_Result send_answer(struct exchange *exchange) {
        if (exchange->route == ROUTE_METRICS && exchange->answer.status == 200)
                complete_metrics(exchange);
        measure_answer(&exchange->http->measures, exchange->route, exchange->answer.status, metrics_now_s() - exchange->begun_s);
        if (exchange->route == ROUTE_EVENTS && exchange->answer.status == 200)
                return send_events(exchange);
        if (exchange->call.response.export)
                return send_export(exchange);
        pthread_mutex_lock(&exchange->http->lock);
        bool closing = exchange->http->draining;
        pthread_mutex_unlock(&exchange->http->lock);
        return answer_send(&exchange->answer, exchange->connection, closing);
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *connection, const char *method, const char *path, void **con_cls) {
        struct exchange *exchange = exchange_new(http, connection, method, path);
        if (!exchange)
                return MHD_NO;
        *con_cls = exchange;
        exchange_admit(exchange);
        return exchange->answer.status && (exchange->answer.is_last || body_is_waited_for(exchange)) ? send_answer(exchange) : MHD_YES;
}

enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                const char *upload_data, size_t *upload_data_size, void **con_cls) {
        (void)version;
        struct exchange *exchange = *con_cls;
        if (!exchange)
                return begin(cls, connection, method, url, con_cls);
        if (*upload_data_size > 0) {
                enum MHD_Result r = take_body(exchange, upload_data, *upload_data_size);
                *upload_data_size = 0;
                return r;
        }
        if (!exchange->suspended && !exchange->answer.status && !answer_here(exchange) && read_query(exchange) && !model_answer(exchange) &&
            read_body(exchange) && read_idempotency_key(exchange)) {
                read_instance(exchange);
                if (push_call(exchange))
                        return MHD_YES;
        }
        return send_answer(exchange);
}
