#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "proto/limits.h"
#include "screen.h"

int ctl_fail(const struct error *err) {
        fprintf(stderr, "sweepctl: %s\n", err->text);
        return EXIT_FAILED;
}

void ctl_print_json(const json_t *value) {
        _cleanup_free_ char *text = json_text(value);
        puts(text ? text : "null");
}

void print_gone(const struct ctl *ctl, const char *id, const char *how) {
        if (!ctl->json) {
                printf("%s  %s\n", id, how);
                return;
        }
        _cleanup_json_ json_t *told = json_pack("{s:s, s:b}", "id", id, how, 1);
        ctl_print_json(told);
}

const char *field_text(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

double field_number(const json_t *object, const char *key) {
        return json_number_value(json_object_get(object, key));
}

void ctl_print_problem(const struct answer *answer, const struct document *document) {
        const char *title = field_text(answer->body, "title"), *detail = field_text(answer->body, "detail");
        screen_print(stderr, "sweepctl: %d %s%s%s\n", answer->status, title ? title : "", detail ? ": " : "", detail ? detail : "");
        size_t i;
        json_t *fault, *faults = json_object_get(answer->body, "errors");
        json_array_foreach(faults, i, fault) {
                const char *pointer = field_text(fault, "pointer"), *text = field_text(fault, "detail");
                document_print_fault(document, pointer ? pointer : "", text ? text : "", stderr);
        }
        if (answer->status == 401)
                fprintf(stderr, "  → --token-file FILE gives one; 'sweepd token create' makes them\n");
        else if (answer->status == 403)
                fprintf(stderr, "  → reading needs a token of role viewer or admin, changing something one of role admin\n");
        double total = field_number(answer->body, "errors_total");
        if (total > (double)json_array_size(faults))
                fprintf(stderr, "  … and %.0f more\n", total - (double)json_array_size(faults));
}

static int judge(const struct ctl *ctl, const struct answer *ret, const struct document *document) {
        if (ret->status >= 200 && ret->status < 300)
                return EXIT_FINE;
        if (ctl->json && ret->body)
                ctl_print_json(ret->body);
        ctl_print_problem(ret, document);
        return EXIT_FAILED;
}

int ctl_call(struct ctl *ctl, const char *method, const char *path, const json_t *body, bool idempotent, const struct document *document,
             struct answer *ret) {
        struct error err;
        if (client_request(ctl->client, method, path, body, idempotent, ret, &err) < 0)
                return ctl_fail(&err);
        return judge(ctl, ret, document);
}

int ctl_copy(struct ctl *ctl, const char *path, FILE *out) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct error err;
        if (client_copy(ctl->client, path, out, &answer, &err) < 0)
                return ctl_fail(&err);
        return judge(ctl, &answer, NULL);
}

static bool is_id(const char *text) {
        size_t len = strlen(text);
        return len > 0 && len <= LIMIT_ID_CHARS && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
               strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-") == len;
}

char *ctl_path(const char *collection, const char *id, const char *rest) {
        char *path = NULL;
        if (!is_id(id)) {
                fprintf(stderr, "sweepctl: '%s' is not an id: 'sweepctl list' shows those of sweeps, 'sweepctl trials SWEEP' those of trials\n", id);
                return NULL;
        }
        return asprintf(&path, "/v1/%s/%s%s", collection, id, rest) < 0 ? NULL : path;
}

/* Cursors are URL-safe as they stand. */
int ctl_list(struct ctl *ctl, const char *path, const char *query, json_t **ret) {
        _cleanup_json_ json_t *items = json_array(), *next = json_null();
        size_t limit = (size_t)config_integer(ctl->config, "limit");
        while (items && json_array_size(items) < limit) {
                __attribute__((cleanup(answer_fini))) struct answer answer = {0};
                _cleanup_free_ char *page = NULL;
                size_t left = limit - json_array_size(items);
                const char *after = json_string_value(next);
                if (asprintf(&page, "%s?limit=%zu%s%s%s%s", path, left < LIMIT_LIST_MAX ? left : LIMIT_LIST_MAX, *query ? "&" : "", query,
                             after ? "&after=" : "", after ? after : "") < 0)
                        return EXIT_FAILED;
                int r = ctl_call(ctl, "GET", page, NULL, false, NULL, &answer);
                if (r != EXIT_FINE)
                        return r;
                if (json_array_extend(items, json_object_get(answer.body, "items")) < 0)
                        break;
                json_decref(next);
                next = json_incref(json_object_get(answer.body, "next"));
                if (!json_is_string(next))
                        break;
        }
        *ret = json_pack("{s:O, s:O}", "items", items, "next", next ? next : json_null());
        return *ret ? EXIT_FINE : EXIT_FAILED;
}

int ctl_each(struct ctl *ctl, const char *path, int (*visit)(void *data, const json_t *item), void *data) {
        _cleanup_free_ char *page = NULL;
        if (asprintf(&page, "%s?limit=%d", path, LIMIT_LIST_MAX) < 0)
                return EXIT_FAILED;
        while (page) {
                __attribute__((cleanup(answer_fini))) struct answer answer = {0};
                size_t i;
                json_t *item;
                int r = ctl_call(ctl, "GET", page, NULL, false, NULL, &answer);
                if (r != EXIT_FINE)
                        return r;
                json_array_foreach(json_object_get(answer.body, "items"), i, item) {
                        r = visit(data, item);
                        if (r != 0)
                                return r;
                }
                const char *after = field_text(answer.body, "next");
                free(TAKE(page));
                if (after && asprintf(&page, "%s?limit=%d&after=%s", path, LIMIT_LIST_MAX, after) < 0)
                        return EXIT_FAILED;
        }
        return EXIT_FINE;
}
