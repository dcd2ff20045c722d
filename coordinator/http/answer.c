/* Answers: problem objects, the api's responses, and their headers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "http/server.h"

static const char type_json[] = "application/json";
static const char type_problem[] = "application/problem+json";

/* When an answer cannot be encoded. Whatever was asked for may be done; asking again tells, as every write can be repeated. */
static const char out_of_memory[] = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"out of memory\"}";

void answer_json(struct answer *answer, int status, const json_t *body) {
        answer->status = status;
        answer->content_type = status >= 400 ? type_problem : type_json;
        answer->text = body ? json_text(body) : NULL;
        answer->text_len = answer->text ? strlen(answer->text) : 0;
        if (!answer->text) {
                answer->status = status = 503;
                answer->content_type = type_problem;
                answer->static_text = out_of_memory;
                answer->text_len = strlen(out_of_memory);
        }
        if ((status == 429 || status == 503) && answer->retry_after_s == 0)
                answer->retry_after_s = 1;
}

void answer_problem(struct answer *answer, int status, const char *format, ...) {
        char detail[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof detail, format, ap);
        va_end(ap);
        _cleanup_json_ json_t *problem = problem_encode(status, detail, NULL);
        answer_json(answer, status, problem);
}

void answer_faults(struct answer *answer, const char *detail, const struct faults *faults) {
        _cleanup_json_ json_t *problem = problem_encode(422, detail, faults);
        answer_json(answer, 422, problem);
}

void answer_from_response(struct answer *answer, struct api_response *response) {
        answer->retry_after_s = response->retry_after_s;
        memcpy(answer->sweep_state, response->sweep_state, sizeof answer->sweep_state);
        memcpy(answer->worker_state, response->worker_state, sizeof answer->worker_state);
        answer->name_shared = response->name_shared;
        if (response->text) {
                answer->status = response->status;
                answer->text = TAKE(response->text);
                answer->text_len = response->text_len;
                answer->content_type = response->status >= 400 ? type_problem : type_json;
        } else if (response->body) {
                answer_json(answer, response->status, response->body);
        } else if (response->status >= 400) {
                answer_problem(answer, response->status, "%s", status_title(response->status));
        } else {
                answer->status = response->status;
        }
        if (response->content_type && answer->status == response->status)
                answer->content_type = response->content_type;
}

static void add_headers(const struct answer *answer, struct MHD_Response *response, bool closing) {
        char number[16];
        if (answer->content_type && (answer->text_len > 0 || answer->status == 200)) /* an export may be empty */
                MHD_add_response_header(response, "Content-Type", answer->content_type);
        if (answer->retry_after_s > 0) {
                snprintf(number, sizeof number, "%u", answer->retry_after_s);
                MHD_add_response_header(response, "Retry-After", number);
        }
        if (answer->sweep_state[0])
                MHD_add_response_header(response, "Sweep-State", answer->sweep_state);
        if (answer->worker_state[0])
                MHD_add_response_header(response, "Worker-State", answer->worker_state);
        if (answer->name_shared)
                MHD_add_response_header(response, "Name-Shared", "true");
        if (answer->allow[0])
                MHD_add_response_header(response, "Allow", answer->allow);
        if (answer->challenge)
                MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"sweepd\"");
        if (closing || answer->is_last)
                MHD_add_response_header(response, "Connection", "close");
        if (answer->asset)
                page_add_headers(answer, response);
        else if (answer->content_type && strncmp(answer->content_type, "text/html", 9) == 0) /* a report: text, plots, its own style */
                MHD_add_response_header(response, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:");
        if (!answer->asset)
                MHD_add_response_header(response, "Cache-Control", "no-store");
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

static enum MHD_Result queue(const struct answer *answer, struct MHD_Connection *connection, struct MHD_Response *response, bool closing) {
        add_headers(answer, response, closing);
        enum MHD_Result r = MHD_queue_response(connection, (unsigned)answer->status, response);
        MHD_destroy_response(response);
        return r;
}

/* Headers and body leave in one write where libmicrohttpd gets the body as a buffer. */
enum MHD_Result answer_send(struct answer *answer, struct MHD_Connection *connection, bool closing) {
        struct MHD_Response *response;
        if (answer->has_file)
                response = MHD_create_response_from_fd_at_offset64(answer->file_bytes, answer->file, answer->file_offset);
        else if (answer->static_text || !answer->text)
                response = MHD_create_response_from_buffer(answer->text_len, (void *)(answer->static_text ? answer->static_text : ""),
                                                           MHD_RESPMEM_PERSISTENT);
        else
                response = MHD_create_response_from_buffer(answer->text_len, answer->text, MHD_RESPMEM_MUST_FREE);
        if (!response)
                return MHD_NO;
        answer->text = NULL; /* the response's now */
        answer->has_file = false;
        return queue(answer, connection, response, closing);
}

enum MHD_Result answer_stream(const struct answer *answer, struct MHD_Connection *connection, struct MHD_Response *response) {
        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* proxies pass each event on at once */
        return queue(answer, connection, response, false);
}

void answer_fini(struct answer *answer) {
        if (answer->has_file)
                close(answer->file);
        free(answer->text);
        answer->text = NULL;
}
