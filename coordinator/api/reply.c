/* Filling in responses. */
#include <stdio.h>
#include <string.h>

#include "api/core.h"
#include "api/export.h"

void reply_clear(struct api_call *call) {
        json_decref(call->response.body);
        free(call->response.text);
        api_export_free(call->response.export);
        call->response = (struct api_response){0};
}

int reply_json(struct api_call *call, int status, json_t *body) {
        reply_clear(call);
        if (!body)
                return -ENOMEM;
        call->response.status = status;
        call->response.body = body;
        return 0;
}

int reply_text(struct api_call *call, int status, char *text, const char *content_type) {
        reply_clear(call);
        if (!text)
                return -ENOMEM;
        call->response.status = status;
        call->response.text = text;
        call->response.text_len = strlen(text);
        call->response.content_type = content_type;
        return 0;
}

int reply_empty(struct api_call *call) {
        reply_clear(call);
        call->response.status = 204;
        return 0;
}

int reply_problem(struct api_call *call, int status, const char *format, ...) {
        char detail[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof detail, format, ap);
        va_end(ap);
        return reply_json(call, status, problem_encode(status, detail, NULL));
}

int reply_faults(struct api_call *call, struct faults *faults) {
        char detail[128];
        snprintf(detail, sizeof detail, "%zu field%s not as %s should be", faults->n_total, faults->n_total == 1 ? " is" : "s are",
                 faults->n_total == 1 ? "it" : "they");
        int r = reply_json(call, 422, problem_encode(422, detail, faults));
        faults_fini(faults);
        *faults = (struct faults){0};
        return r;
}

int reply_fault(struct api_call *call, const char *pointer, const char *format, ...) {
        char detail[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof detail, format, ap);
        va_end(ap);
        struct faults faults = {0};
        faults_add(&faults, pointer, "%s", detail);
        return reply_faults(call, &faults);
}

void reply_unavailable(struct api_call *call, const char *detail) {
        if (reply_problem(call, 503, "%s", detail) < 0)
                call->response.status = 503;
        call->response.retry_after_s = 1;
}

int reply_decoded(struct api_call *call, int r, struct faults *faults) {
        if (r > 0)
                r = reply_faults(call, faults) < 0 ? -ENOMEM : ANSWERED;
        else
                faults_fini(faults);
        return r;
}

int reply_query(struct api_call *call, enum list_kind kind, struct list_query *ret) {
        struct faults faults = {0};
        return reply_decoded(call, list_query_decode(call->request.query, kind, &faults, ret), &faults);
}

int reply_page(struct api_call *call, json_t *items, char *cursor) {
        json_t *next = encode_text(cursor);
        free(cursor);
        return reply_json(call, 200, json_pack("{s:o, s:o}", "items", items, "next", next));
}
