/* The coordinator refuses a whole report for one bad point, so every point is checked here, where only that line is lost. */
#include "agent/trainer_line.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/rfc3339.h"
#include "common/utf8.h"
#include "proto/limits.h"
#include "proto/state.h"

json_t *text_for_report(const char *text, size_t max_bytes, int keep_end) {
        size_t len = strlen(text);
        if (len > max_bytes) {
                text += keep_end ? len - max_bytes : 0;
                len = max_bytes;
        }
        _cleanup_free_ char *clean = strndup(text, len);
        if (!clean)
                return NULL;
        for (size_t i = utf8_span(clean, len); i < len; i += utf8_span(clean + i, len - i))
                clean[i] = '?';
        return json_stringn(clean, len);
}

static bool finite_number(const json_t *value) {
        return json_is_number(value) && isfinite(json_number_value(value));
}

static bool step_number(const json_t *value) {
        double step = json_number_value(value);
        return json_is_number(value) && step >= 0 && step <= 9007199254740991.0 && step == floor(step);
}

/* A name that the coordinator takes: one short line without control characters. */
static bool is_name(const json_t *value) {
        const char *text = json_string_value(value);
        size_t len = json_string_length(value);
        for (size_t i = 0; i < len; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                        return false;
        return len > 0 && len <= LIMIT_NAME_BYTES;
}

static int decode_metric(const json_t *event, uint64_t now_ms, struct trainer_line *ret, struct error *err) {
        const char *time = json_string_value(json_object_get(event, "time"));
        json_t *name = json_object_get(event, "name");
        const json_t *step = json_object_get(event, "step"), *value = json_object_get(event, "value"), *epoch = json_object_get(event, "epoch");
        const char *fault = !is_name(name) ? "name" : !step_number(step) ? "step" : !finite_number(value) ? "value" : NULL;
        if (fault)
                return error_set(err, -EINVAL, "metric without a usable %s", fault), LINE_MALFORMED;
        char stamp[RFC3339_SIZE];
        uint64_t ms;
        rfc3339_format(time && rfc3339_parse(time, &ms) == 0 ? ms : now_ms, stamp);
        ret->json = json_pack("{s:O, s:I, s:O, s:s}", "name", name, "step", (json_int_t)json_number_value(step), "value", value, "time", stamp);
        if (!ret->json)
                return -ENOMEM;
        if (finite_number(epoch) && json_object_set(ret->json, "epoch", (json_t *)epoch) < 0)
                return -ENOMEM;
        return LINE_METRIC;
}

static int decode_failure(const json_t *event, struct trainer_line *ret) {
        const char *reason = json_string_value(json_object_get(event, "reason"));
        const char *detail = json_string_value(json_object_get(event, "detail"));
        int known = reason ? failure_reason_from_name(reason) : -1;
        bool good = known >= 0 && failure_reason_reportable((enum failure_reason)known);
        json_t *text = text_for_report(detail ? detail : "", LIMIT_DETAIL_BYTES, 0);
        ret->json = json_pack("{s:s, s:s, s:o}", "state", "failed", "reason", good ? reason : "crashed", "detail", text);
        return ret->json ? LINE_OUTCOME : -ENOMEM;
}

static int decode_outcome(const json_t *event, struct trainer_line *ret, struct error *err) {
        const char *state = json_string_value(json_object_get(event, "state"));
        const json_t *value = json_object_get(event, "value");
        if (!state)
                return error_set(err, -EINVAL, "outcome without a state"), LINE_MALFORMED;
        if (strcmp(state, "failed") == 0)
                return decode_failure(event, ret);
        if (strcmp(state, "completed") != 0 && strcmp(state, "stopped") != 0 && strcmp(state, "released") != 0)
                return error_set(err, -EINVAL, "outcome with the unknown state '%.40s'", state), LINE_MALFORMED;
        ret->json = json_pack("{s:s}", "state", state);
        if (!ret->json)
                return -ENOMEM;
        if (finite_number(value) && strcmp(state, "released") != 0 && json_object_set(ret->json, "value", (json_t *)value) < 0)
                return -ENOMEM;
        return LINE_OUTCOME;
}

int trainer_line_decode(const char *text, size_t len, uint64_t now_ms, struct trainer_line *ret, struct error *err) {
        *ret = (struct trainer_line){0};
        size_t start = 0;
        while (start < len && (text[start] == ' ' || text[start] == '\t'))
                start++;
        if (start == len || text[start] != '{')
                return LINE_CHATTER;
        _cleanup_json_ json_t *event = NULL;
        int r = json_read(text + start, len - start, &event, err);
        if (r < 0)
                return r == -ENOMEM ? r : LINE_MALFORMED;
        const char *kind = json_string_value(json_object_get(event, "event"));
        if (!kind)
                return error_set(err, -EINVAL, "object without an event"), LINE_CHATTER;
        if (strcmp(kind, "metric") == 0)
                return decode_metric(event, now_ms, ret, err);
        if (strcmp(kind, "outcome") == 0)
                return decode_outcome(event, ret, err);
        const json_t *value = json_object_get(event, "value");
        if (strcmp(kind, "progress") != 0 || !finite_number(value))
                return error_set(err, -EINVAL, "event '%.40s' is unknown or has no value", kind), LINE_MALFORMED;
        ret->progress = fmin(1, fmax(0, json_number_value(value)));
        return LINE_PROGRESS;
}
