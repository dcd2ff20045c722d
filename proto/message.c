/* Decoders of the requests: one function a message, each a list of its members. */
#include "proto/message.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/rfc3339.h"
#include "proto/limits.h"
#include "proto/reader.h"

#define STEP_MAX ((int64_t)1 << 53)
#define TRAINERS_MAX 256
#define SHA256_TEXT_BYTES 128

static int verdict(const struct faults *faults, size_t before) {
        return faults->n_total > before ? MESSAGE_FAULTY : 0;
}

/* --- registration ------------------------------------------------------------------------------------ */

/* {"sha256":…, anything else}: returns the fingerprint, or NULL. */
static const char *fingerprint_decode(const struct reader *reader, const char *key, json_t **ret_object) {
        json_t *object = reader_object(reader, key);
        if (!object)
                return NULL;
        *ret_object = object;
        char pointer[POINTER_SIZE];
        struct reader inner;
        reader_init(&inner, object, pointer_join(pointer, sizeof pointer, reader->pointer, key), reader->faults);
        return reader_text(&inner, "sha256", SHA256_TEXT_BYTES);
}

static int trainers_decode(const struct reader *reader, struct worker_registration *message) {
        if (!reader_require(reader, "trainers") || !reader_texts(reader, "trainers", TRAINERS_MAX, LIMIT_NAME_BYTES + 8))
                return 0;
        message->trainers_json = reader_get(reader, "trainers");
        size_t n = json_array_size(message->trainers_json);
        if (n == 0) {
                reader_fault(reader, "trainers", "must have at least 1 item");
                return 0;
        }
        message->trainers = calloc(n, sizeof *message->trainers);
        if (!message->trainers)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                message->trainers[message->n_trainers++] = json_string_value(json_array_get(message->trainers_json, i));
        return 0;
}

int worker_registration_decode(json_t *document, struct faults *faults, struct worker_registration *ret) {
        static const char *const keys[] = {"name", "instance", "slots", "trainers", "model", "data", "facts", "unfit", NULL};
        struct worker_registration message = {0};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "name");
        message.name = reader_text(&reader, "name", LIMIT_NAME_BYTES);
        message.instance = reader_text(&reader, "instance", LIMIT_NAME_BYTES);
        int64_t slots = 0;
        reader_require(&reader, "slots");
        reader_integer(&reader, "slots", 1, LIMIT_SLOTS, &slots);
        message.slots = (unsigned)slots;
        message.model_sha256 = fingerprint_decode(&reader, "model", &message.model);
        message.data_sha256 = fingerprint_decode(&reader, "data", &message.data);
        message.facts = reader_object(&reader, "facts");
        message.unfit = reader_text(&reader, "unfit", LIMIT_UNFIT_BYTES);
        int r = trainers_decode(&reader, &message);
        if (r == 0)
                r = verdict(faults, before);
        if (r != 0)
                worker_registration_fini(&message);
        else
                *ret = message;
        return r;
}

void worker_registration_fini(struct worker_registration *message) {
        free(message->trainers);
        message->trainers = NULL;
}

/* --- claim ------------------------------------------------------------------------------------------- */

int claim_request_decode(json_t *document, struct faults *faults, struct claim_request *ret) {
        static const char *const keys[] = {"worker", "claim_id", "slots", "wait_s", "sweep", NULL};
        struct claim_request message = {0};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "worker");
        message.worker = reader_text(&reader, "worker", LIMIT_NAME_BYTES);
        reader_require(&reader, "claim_id");
        message.claim_id = reader_text(&reader, "claim_id", LIMIT_NAME_BYTES);
        int64_t slots = 1;
        reader_integer(&reader, "slots", 1, LIMIT_SLOTS, &slots);
        message.slots = (unsigned)slots;
        reader_number(&reader, "wait_s", 0, LIMIT_WAIT_S, &message.wait_s);
        message.sweep = reader_text(&reader, "sweep", LIMIT_NAME_BYTES);
        int r = verdict(faults, before);
        if (r == 0)
                *ret = message;
        return r;
}

/* --- report ------------------------------------------------------------------------------------------ */

static void point_decode(const json_t *value, const char *pointer, struct faults *faults, struct metric_point *ret) {
        static const char *const keys[] = {"name", "step", "epoch", "value", "time", NULL};
        struct reader reader;
        if (!reader_init(&reader, value, pointer, faults))
                return;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "name");
        ret->name = reader_text(&reader, "name", LIMIT_NAME_BYTES);
        reader_require(&reader, "step");
        reader_integer(&reader, "step", 0, STEP_MAX, &ret->step);
        ret->has_epoch = reader_number(&reader, "epoch", -HUGE_VAL, HUGE_VAL, &ret->epoch);
        reader_require(&reader, "value");
        reader_number(&reader, "value", -HUGE_VAL, HUGE_VAL, &ret->value);
        const char *time = reader_text(&reader, "time", 64);
        if (time && rfc3339_parse(time, &ret->time_ms) < 0)
                reader_fault(&reader, "time", "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z");
}

static int points_decode(const struct reader *reader, struct metric_point **ret, size_t *ret_n) {
        json_t *list = reader_array(reader, "metrics", 0, LIMIT_POINTS_PER_REPORT);
        size_t n = json_array_size(list);
        if (n == 0)
                return 0;
        struct metric_point *points = calloc(n, sizeof *points);
        if (!points)
                return -ENOMEM;
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "metrics");
        for (size_t i = 0; i < n; i++)
                point_decode(json_array_get(list, i), pointer_join_index(pointer, sizeof pointer, base, i), reader->faults,
                             &points[i]);
        *ret = points;
        *ret_n = n;
        return 0;
}

static const char *const outcome_names[] = {
        [OUTCOME_COMPLETED] = "completed",
        [OUTCOME_STOPPED] = "stopped",
        [OUTCOME_FAILED] = "failed",
        [OUTCOME_RELEASED] = "released",
};

static enum outcome_kind outcome_kind(const struct reader *reader) {
        if (!reader_require(reader, "state"))
                return OUTCOME_NONE;
        const char *state = reader_text(reader, "state", LIMIT_NAME_BYTES);
        for (int i = OUTCOME_COMPLETED; state && i <= OUTCOME_RELEASED; i++)
                if (strcmp(outcome_names[i], state) == 0)
                        return (enum outcome_kind)i;
        if (state)
                reader_fault(reader, "state", "must be completed, stopped, failed or released");
        return OUTCOME_NONE;
}

static void reason_decode(const struct reader *reader, struct report *message) {
        if (!reader_require(reader, "reason"))
                return;
        const char *name = reader_text(reader, "reason", LIMIT_NAME_BYTES);
        int reason = name ? failure_reason_from_name(name) : -1;
        if (name && reason < 0)
                reader_fault(reader, "reason", "'%.64s' is no reason for a trial to fail", name);
        else if (name)
                message->reason = (enum failure_reason)reason;
}

static int resume_decode(const struct reader *reader, struct report *message) {
        message->resume = reader_get(reader, "resume");
        struct buf text = BUF_INIT(LIMIT_RESUME_BYTES);
        int r = message->resume ? json_write(message->resume, &text) : 0;
        buf_fini(&text);
        if (r == -EFBIG)
                reader_fault(reader, "resume", "must be at most %u bytes of JSON", LIMIT_RESUME_BYTES);
        return r == -EFBIG ? 0 : r;
}

static void outcome_refuse(const struct reader *reader, const char *key, enum outcome_kind kind) {
        if (reader_get(reader, key))
                reader_fault(reader, key, "has no meaning for a %s trial", outcome_names[kind]);
}

static int outcome_decode(const json_t *value, const char *pointer, struct faults *faults, struct report *message) {
        static const char *const keys[] = {"state", "value", "reason", "detail", "resume", NULL};
        struct reader reader;
        if (!reader_init(&reader, value, pointer, faults))
                return 0;
        reader_refuse_unknown(&reader, keys);
        enum outcome_kind kind = message->outcome = outcome_kind(&reader);
        message->detail = reader_prose(&reader, "detail", LIMIT_DETAIL_BYTES);
        int r = 0;
        if (kind == OUTCOME_COMPLETED || kind == OUTCOME_STOPPED)
                message->has_value = reader_number(&reader, "value", -HUGE_VAL, HUGE_VAL, &message->value);
        else if (kind != OUTCOME_NONE)
                outcome_refuse(&reader, "value", kind);
        if (kind == OUTCOME_FAILED)
                reason_decode(&reader, message);
        else if (kind != OUTCOME_NONE)
                outcome_refuse(&reader, "reason", kind);
        if (kind == OUTCOME_RELEASED)
                r = resume_decode(&reader, message);
        else if (kind != OUTCOME_NONE)
                outcome_refuse(&reader, "resume", kind);
        return r;
}

int report_decode(json_t *document, struct faults *faults, struct report *ret) {
        static const char *const keys[] = {"lease", "seq", "metrics", "progress", "outcome", NULL};
        struct report message = {0};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "lease");
        message.lease = reader_text(&reader, "lease", LIMIT_NAME_BYTES);
        reader_require(&reader, "seq");
        reader_integer(&reader, "seq", 1, INT64_MAX, &message.seq);
        message.has_progress = reader_number(&reader, "progress", 0, 1, &message.progress);
        int r = points_decode(&reader, &message.points, &message.n_points);
        json_t *outcome = reader_get(&reader, "outcome");
        if (r == 0 && outcome)
                r = outcome_decode(outcome, "/outcome", faults, &message);
        if (r == 0)
                r = verdict(faults, before);
        if (r != 0)
                report_fini(&message);
        else
                *ret = message;
        return r;
}

void report_fini(struct report *message) {
        free(message->points);
        message->points = NULL;
        message->n_points = 0;
}

/* --- a kept model ------------------------------------------------------------------------------------- */

static bool is_hash(const char *text) {
        return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static bool is_file_name(const char *text) {
        return text[0] != '.' && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}

static void model_file_decode(const json_t *value, const char *pointer, struct faults *faults, struct model_offer *message) {
        static const char *const keys[] = {"name", "bytes", "sha256", NULL};
        struct reader reader;
        if (!reader_init(&reader, value, pointer, faults))
                return;
        reader_refuse_unknown(&reader, keys);
        for (const char *const *key = keys; *key; key++)
                reader_require(&reader, *key);
        const char *name = reader_text(&reader, "name", LIMIT_MODEL_NAME_BYTES), *sha256 = reader_text(&reader, "sha256", 64);
        if (name && !is_file_name(name))
                reader_fault(&reader, "name", "must be letters, digits, '.', '_' and '-', without a dot in front");
        if (sha256 && !is_hash(sha256))
                reader_fault(&reader, "sha256", "must be 64 lower-case hexadecimal digits");
        for (size_t i = 0; name && i < message->n_files; i++)
                if (message->files[i].name && strcmp(message->files[i].name, name) == 0)
                        reader_fault(&reader, "name", "is given twice");
        message->files[message->n_files].name = name;
        message->files[message->n_files].sha256 = sha256;
        reader_integer(&reader, "bytes", 1, LIMIT_MODEL_BYTES, &message->files[message->n_files].bytes);
        message->n_files++;
}

int model_offer_decode(json_t *document, struct faults *faults, struct model_offer *ret) {
        static const char *const keys[] = {"lease", "files", NULL};
        size_t before = faults->n_total;
        struct reader reader;
        *ret = (struct model_offer){0};
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "lease");
        reader_require(&reader, "files");
        ret->lease = reader_text(&reader, "lease", LIMIT_NAME_BYTES);
        json_t *files = reader_array(&reader, "files", 1, LIMIT_MODEL_FILES);
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < json_array_size(files) && i < LIMIT_MODEL_FILES; i++)
                model_file_decode(json_array_get(files, i), pointer_join_index(pointer, sizeof pointer, "/files", i), faults, ret);
        return verdict(faults, before);
}

/* --- enqueue or import ------------------------------------------------------------------------------- */

static int enqueue_item_decode(const json_t *value, const char *pointer, struct faults *faults, struct enqueue_item *ret) {
        static const char *const keys[] = {"params", "value", "state", "metrics", NULL}, *const of_finished[] = {"state", "metrics"};
        struct reader reader;
        if (!reader_init(&reader, value, pointer, faults))
                return 0;
        reader_refuse_unknown(&reader, keys);
        reader_require(&reader, "params");
        ret->params = reader_object(&reader, "params");
        ret->has_value = reader_number(&reader, "value", -HUGE_VAL, HUGE_VAL, &ret->value);
        ret->state = TRIAL_COMPLETED;
        const char *state = reader_text(&reader, "state", LIMIT_NAME_BYTES);
        if (state && strcmp(state, trial_state_name(TRIAL_STOPPED)) == 0)
                ret->state = TRIAL_STOPPED;
        else if (state && strcmp(state, trial_state_name(TRIAL_COMPLETED)) != 0)
                reader_fault(&reader, "state", "of what was finished elsewhere must be completed or stopped");
        for (size_t i = 0; i < 2; i++)
                if (reader_get(&reader, of_finished[i]) && !reader_get(&reader, "value"))
                        reader_fault(&reader, of_finished[i], "is for what was finished elsewhere, which has a value");
        return points_decode(&reader, &ret->points, &ret->n_points);
}

static int enqueue_list_decode(const struct reader *reader, struct enqueue_request *message) {
        static const char *const keys[] = {"trials", NULL};
        reader_refuse_unknown(reader, keys);
        json_t *list = reader_array(reader, "trials", 1, LIMIT_ENQUEUE_ITEMS);
        size_t n = json_array_size(list), n_points = 0;
        if (n == 0)
                return 0;
        message->items = calloc(n, sizeof *message->items);
        if (!message->items)
                return -ENOMEM;
        message->n = n;
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < n && n_points <= LIMIT_ENQUEUE_POINTS; i++) {
                struct enqueue_item *item = &message->items[i];
                int r = enqueue_item_decode(json_array_get(list, i), pointer_join_index(pointer, sizeof pointer, "/trials", i), reader->faults, item);
                if (r < 0)
                        return r;
                n_points += item->n_points;
        }
        if (n_points > LIMIT_ENQUEUE_POINTS)
                reader_fault(reader, "trials", "must have at most %d points of metrics in all: import them in several requests", LIMIT_ENQUEUE_POINTS);
        return 0;
}

static int enqueue_one_decode(const struct reader *reader, struct enqueue_request *message) {
        message->items = calloc(1, sizeof *message->items);
        if (!message->items)
                return -ENOMEM;
        message->n = 1;
        return enqueue_item_decode(reader->object, "", reader->faults, &message->items[0]);
}

int enqueue_request_decode(json_t *document, struct faults *faults, struct enqueue_request *ret) {
        struct enqueue_request message = {0};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        message.many = reader_get(&reader, "trials");
        int r = message.many ? enqueue_list_decode(&reader, &message) : enqueue_one_decode(&reader, &message);
        if (r == 0)
                r = verdict(faults, before);
        if (r != 0)
                enqueue_request_fini(&message);
        else
                *ret = message;
        return r;
}

void enqueue_request_fini(struct enqueue_request *message) {
        for (size_t i = 0; i < message->n; i++)
                free(message->items[i].points);
        free(message->items);
        message->items = NULL;
        message->n = 0;
}

/* --- patch, nothing, queries ------------------------------------------------------------------------- */

int sweep_patch_decode(json_t *document, struct faults *faults, struct sweep_patch *ret) {
        static const char *const keys[] = {"state", "run_cap", "priority", "spec", NULL};
        struct sweep_patch message = {.state = -1};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, keys);
        if (json_object_size(document) == 0)
                faults_add(faults, "", "must have at least one of state, run_cap, priority and spec");
        const char *state = reader_text(&reader, "state", LIMIT_NAME_BYTES);
        if (state) {
                message.state = sweep_state_from_name(state);
                if (message.state != SWEEP_RUNNING && message.state != SWEEP_PAUSED && message.state != SWEEP_CANCELLED)
                        reader_fault(&reader, "state", "must be running, paused or cancelled");
        }
        int64_t n = 0;
        message.has_run_cap = json_is_null(json_object_get(document, "run_cap")) || reader_integer(&reader, "run_cap", 1, RUN_CAP_MAX, &n);
        message.run_cap = (uint64_t)n;
        message.has_priority = reader_integer(&reader, "priority", -PRIORITY_MAX, PRIORITY_MAX, &n);
        message.priority = message.has_priority ? (int)n : 0;
        message.spec = reader_object(&reader, "spec");
        int r = verdict(faults, before);
        if (r == 0)
                *ret = message;
        return r;
}

int empty_decode(json_t *document, struct faults *faults) {
        static const char *const keys[] = {NULL};
        struct reader reader;
        size_t before = faults->n_total;
        if (document && reader_init(&reader, document, "", faults))
                reader_refuse_unknown(&reader, keys);
        return verdict(faults, before);
}

static bool query_limit(const char *text, unsigned *ret) {
        char *end;
        errno = 0;
        unsigned long n = strtoul(text, &end, 10);
        if (errno || *end || text[0] < '0' || text[0] > '9' || n < 1 || n > LIMIT_LIST_MAX)
                return false;
        *ret = (unsigned)n;
        return true;
}

static int query_state(enum list_kind kind, const char *name) {
        switch (kind) {
        case LIST_SWEEPS:
                return sweep_state_from_name(name);
        case LIST_WORKERS:
                return worker_state_from_name(name);
        default:
                return trial_state_from_name(name);
        }
}

static bool query_sort(const char *text, struct list_query *query) {
        if (strcmp(text, "created") == 0)
                query->sort = SORT_CREATED;
        else if (strcmp(text, "value") == 0)
                query->sort = SORT_VALUE_ASCENDING;
        else if (strcmp(text, "-value") == 0)
                query->sort = SORT_VALUE_DESCENDING;
        else
                return false;
        return true;
}

static bool query_format(const char *text, enum list_kind kind) {
        if (kind == LIST_REPORT)
                return strcmp(text, "html") == 0 || strcmp(text, "md") == 0;
        return strcmp(text, "json") == 0 || strcmp(text, "csv") == 0 || strcmp(text, "jsonl") == 0;
}

int list_query_decode(json_t *query, enum list_kind kind, struct faults *faults, struct list_query *ret) {
        static const char *const known[][5] = {
                [LIST_SWEEPS] = {"limit", "after", "state"}, [LIST_TRIALS] = {"limit", "after", "state", "sort"},
                [LIST_WORKERS] = {"limit", "after", "state"}, [LIST_METRICS] = {"limit", "after", "name"},
                [LIST_EXPORT] = {"format"}, [LIST_REPORT] = {"format"}, [LIST_SLICE] = {"parameter", "parameter2"}, [LIST_EVENTS] = {"sweep"}, [LIST_HISTORY] = {"limit", "after"}, [LIST_NOTHING] = {NULL},
        };
        struct list_query message = {.limit = LIMIT_LIST_DEFAULT, .state = -1, .sort = SORT_CREATED, .format = kind == LIST_REPORT ? "html" : "json"};
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, query, "", faults))
                return MESSAGE_FAULTY;
        reader_refuse_unknown(&reader, known[kind]);
        const char *text = json_string_value(json_object_get(query, "limit"));
        if (text && !query_limit(text, &message.limit))
                reader_fault(&reader, "limit", "must be a whole number from 1 to %d", LIMIT_LIST_MAX);
        message.after = reader_text(&reader, "after", 1024);
        message.sweep = reader_text(&reader, "sweep", LIMIT_ID_CHARS);
        message.name = reader_text(&reader, "name", LIMIT_NAME_BYTES);
        message.parameter = reader_text(&reader, "parameter", LIMIT_NAME_BYTES);
        message.parameter2 = reader_text(&reader, "parameter2", LIMIT_NAME_BYTES);
        if (kind == LIST_SLICE && !json_object_get(query, "parameter"))
                reader_fault(&reader, "parameter", "is missing: which parameter to slice along");
        if (message.parameter && message.parameter2 && strcmp(message.parameter, message.parameter2) == 0)
                reader_fault(&reader, "parameter2", "is the same as parameter");
        text = json_string_value(json_object_get(query, "state"));
        if (text && (message.state = query_state(kind, text)) < 0)
                reader_fault(&reader, "state", "'%.64s' is not a state", text);
        text = json_string_value(json_object_get(query, "sort"));
        if (text && !query_sort(text, &message))
                reader_fault(&reader, "sort", "must be created, value or -value");
        text = json_string_value(json_object_get(query, "format"));
        if (text && !query_format(text, kind))
                reader_fault(&reader, "format", kind == LIST_REPORT ? "must be html or md" : "must be json, csv or jsonl");
        else if (text)
                message.format = text;
        int r = verdict(faults, before);
        if (r == 0)
                *ret = message;
        return r;
}
