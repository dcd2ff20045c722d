#include "proto/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"

#define DETAIL_BYTES 512

void faults_fini(struct faults *faults) {
        if (!faults)
                return;
        for (size_t i = 0; i < faults->n; i++) {
                free(faults->items[i].pointer);
                free(faults->items[i].detail);
        }
        free(faults->items);
        *faults = (struct faults){0};
}

/* vsnprintf may cut inside a UTF-8 sequence; JSON text must not hold half of one. */
static void trim_utf8(char *text) {
        size_t len = strlen(text);
        if (len < DETAIL_BYTES - 1)
                return;
        size_t start = len;
        while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
                start--;
        if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
                text[start - 1] = 0;
}

void faults_add(struct faults *faults, const char *pointer, const char *format, ...) {
        faults->n_total++;
        if (faults->n >= LIMIT_FAULTS)
                return;
        if (!faults->items) {
                faults->items = calloc(LIMIT_FAULTS, sizeof *faults->items);
                if (!faults->items)
                        return;
        }
        char text[DETAIL_BYTES];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        trim_utf8(text);
        _cleanup_free_ char *at = strdup(pointer), *detail = strdup(text);
        if (!at || !detail)
                return;
        faults->items[faults->n++] = (struct fault){.pointer = TAKE(at), .detail = TAKE(detail)};
}

void faults_prefix(struct faults *faults, const char *prefix) {
        for (size_t i = 0; i < faults->n; i++) {
                char *pointer;
                if (asprintf(&pointer, "%s%s", prefix, faults->items[i].pointer) < 0)
                        continue;
                free(faults->items[i].pointer);
                faults->items[i].pointer = pointer;
        }
}

char *pointer_join(char *ret, size_t size, const char *pointer, const char *token) {
        size_t n = 0;
#define PUT(c) (n + 1 < size ? (void)(ret[n++] = (c)) : (void)0)
        if (ret == pointer)
                n = strlen(pointer);
        else
                for (; *pointer; pointer++)
                        PUT(*pointer);
        PUT('/');
        for (; *token; token++) {
                if (*token == '~' || *token == '/') {
                        PUT('~');
                        PUT(*token == '~' ? '0' : '1');
                } else {
                        PUT(*token);
                }
        }
#undef PUT
        /* a cut name must not leave half a UTF-8 sequence */
        while (n + 1 >= size && n > 0 && ((unsigned char)ret[n - 1] & 0x80))
                n--;
        ret[n] = 0;
        return ret;
}

char *pointer_join_index(char *ret, size_t size, const char *pointer, size_t index) {
        char token[24];
        snprintf(token, sizeof token, "%zu", index);
        return pointer_join(ret, size, pointer, token);
}

const char *status_title(int status) {
        static const struct {
                int status;
                const char *title;
        } titles[] = {
                {200, "OK"},
                {201, "Created"},
                {204, "No Content"},
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {409, "Conflict"},
                {413, "Content Too Large"},
                {414, "URI Too Long"},
                {415, "Unsupported Media Type"},
                {422, "Unprocessable Content"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {500, "Internal Server Error"},
                {503, "Service Unavailable"},
                {507, "Insufficient Storage"},
        };
        for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
                if (titles[i].status == status)
                        return titles[i].title;
        return "Error";
}

static json_t *faults_encode(const struct faults *faults) {
        json_t *list = json_array();
        for (size_t i = 0; list && i < faults->n; i++)
                json_array_append_new(list, json_pack("{s:s, s:s}", "pointer", faults->items[i].pointer, "detail",
                                                      faults->items[i].detail));
        return list;
}

json_t *problem_encode(int status, const char *detail, const struct faults *faults) {
        json_t *problem = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", status_title(status), "status", status,
                                    "detail", detail ? detail : status_title(status));
        if (problem && faults && faults->n > 0)
                json_object_set_new(problem, "errors", faults_encode(faults));
        if (problem && faults && faults->n_total > faults->n)
                json_object_set_new(problem, "errors_total", json_integer((json_int_t)faults->n_total));
        return problem;
}
