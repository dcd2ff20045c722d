/* The bytes of kept models: pieces that come, files that go. Neither passes the core thread. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "http/server.h"
#include "models/models.h"
#include "proto/limits.h"

/* ?name=&offset=; false with the answer filled. */
static bool read_place(struct exchange *exchange, const char **ret_name, uint64_t *ret_offset) {
        struct faults faults = {0};
        const char *key, *name = NULL, *offset = "0";
        json_t *value;
        char pointer[256];
        json_object_foreach(exchange->call.request.query, key, value) {
                if (strcmp(key, "name") == 0)
                        name = json_string_value(value);
                else if (strcmp(key, "offset") == 0)
                        offset = json_string_value(value);
                else
                        faults_add(&faults, pointer_join(pointer, sizeof pointer, "", key), "is not known here");
        }
        if (!name || !model_accepts_name(name))
                faults_add(&faults, "/name", "must be the name of a file: letters, digits, '.', '_' and '-', without a dot in front");
        size_t digits = strspn(offset, "0123456789");
        if (digits == 0 || digits > 15 || offset[digits])
                faults_add(&faults, "/offset", "must be a number of bytes");
        bool good = faults.n_total == 0;
        if (!good)
                answer_faults(&exchange->answer, "the query has faults", &faults);
        faults_fini(&faults);
        *ret_name = name;
        *ret_offset = good ? strtoull(offset, NULL, 10) : 0;
        return good;
}

static const char *sweep_limit(const struct exchange *exchange) {
        return exchange->holder.sweep[0] ? exchange->holder.sweep : NULL;
}

/* NULL with the answer filled. */
static const char *read_lease(struct exchange *exchange) {
        const char *lease = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Lease");
        size_t len = lease ? strlen(lease) : 0;
        if (len > 0 && len <= LIMIT_NAME_BYTES)
                return lease;
        answer_problem(&exchange->answer, 422, "the header Lease must be the lease that the model was offered with, 1 to %d bytes", LIMIT_NAME_BYTES);
        return NULL;
}

static void take_piece(struct exchange *exchange, const char *lease, const char *name, uint64_t offset) {
        struct answer *answer = &exchange->answer;
        uint64_t received;
        struct error err;
        if (exchange->received > 0 && exchange->wrong_type) {
                answer_problem(answer, 415, "a piece of a file must be application/octet-stream");
                return;
        }
        int status = models_put(exchange->http->config.models, exchange->id, lease, sweep_limit(exchange), name, offset, exchange->body.data,
                                exchange->body.len, &received, &err);
        if (status != 0) {
                answer_problem(answer, status, "%s", err.text);
                return;
        }
        _cleanup_json_ json_t *body = json_pack("{s:I}", "received", (json_int_t)received);
        answer_json(answer, 200, body);
}

static void give_file(struct exchange *exchange, const char *name, uint64_t offset) {
        struct answer *answer = &exchange->answer;
        uint64_t bytes;
        int fd = models_open_file(exchange->http->config.models, exchange->id, sweep_limit(exchange), name, &bytes);
        if (fd == -EACCES)
                answer_problem(answer, 403, "this token is good for sweep '%s' only", sweep_limit(exchange));
        else if (fd < 0)
                answer_problem(answer, 404, "no such file of trial '%s' is kept here", exchange->id);
        else if (offset > bytes) {
                close(fd);
                answer_problem(answer, 422, "the file has %llu bytes", (unsigned long long)bytes);
        } else {
                answer->status = 200;
                answer->content_type = "application/octet-stream";
                answer->has_file = true;
                answer->file = fd;
                answer->file_offset = offset;
                answer->file_bytes = bytes - offset;
        }
}

bool model_answer(struct exchange *exchange) {
        const char *name, *lease = NULL;
        uint64_t offset;
        if (exchange->route != ROUTE_MODEL_FILE && exchange->route != ROUTE_MODEL_PIECE)
                return false;
        if (exchange->route == ROUTE_MODEL_PIECE && !(lease = read_lease(exchange)))
                ;
        else if (!exchange->http->config.models)
                answer_problem(&exchange->answer, 404, "this server keeps no models: start it with --models-dir DIR");
        else if (!read_place(exchange, &name, &offset))
                ;
        else if (exchange->route == ROUTE_MODEL_PIECE)
                take_piece(exchange, lease, name, offset);
        else
                give_file(exchange, name, offset);
        return true;
}
