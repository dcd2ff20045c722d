#include "agent/reporter.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backoff.h"
#include "agent/journal.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "proto/limits.h"

#define POINTS_WAITING_MAX 50000
#define BATCH_MS 1000
#define ANSWER_TIMEOUT_S 15.0

struct reporter {
        struct net *net;
        const struct world *world;
        json_t *trial;
        char path[128];
        const char *id, *lease; /* into trial */
        double lease_s;
        int64_t seq;     /* of the last body that was made */
        json_t **points; /* owned references, oldest first */
        size_t n_points, cap_points;
        uint64_t n_dropped;
        struct journal *journal; /* of points and body; NULL when there is none */
        bool has_progress, progress_is_news;
        double progress;
        json_t *body; /* not answered yet */
        struct net_request *request;
        uint64_t made_ms; /* when the last body was made, or the lease taken */
        struct backoff backoff;
        bool sealed;
        reporter_callback *callback;
        void *data;
};

int reporter_new(struct net *net, const struct world *world, json_t *trial, reporter_callback *callback, void *data, struct reporter **ret) {
        struct reporter *reporter = calloc(1, sizeof *reporter);
        if (!reporter)
                return -ENOMEM;
        double lease_s = json_number_value(json_object_get(trial, "lease_s"));
        *reporter = (struct reporter){
                .net = net,
                .world = world,
                .trial = json_incref(trial),
                .id = json_string_value(json_object_get(trial, "id")),
                .lease = json_string_value(json_object_get(trial, "lease")),
                .lease_s = lease_s > 0 ? lease_s : DEFAULT_LEASE_S,
                .made_ms = world_mono_ms(world),
                .callback = callback,
                .data = data,
        };
        snprintf(reporter->path, sizeof reporter->path, "/v1/trials/%s/report", reporter->id);
        uint64_t seed;
        world->random_bytes(world->data, &seed, sizeof seed);
        backoff_init(&reporter->backoff, seed, 0.25, 5);
        *ret = reporter;
        return 0;
}

void reporter_free(struct reporter *reporter) {
        if (!reporter)
                return;
        net_cancel(reporter->request);
        for (size_t i = 0; i < reporter->n_points; i++)
                json_decref(reporter->points[i]);
        free(reporter->points);
        journal_close(reporter->journal);
        json_decref(reporter->body);
        json_decref(reporter->trial);
        free(reporter);
}

static void drop_oldest(struct reporter *reporter, size_t n) {
        if (n == 0)
                return; /* points may be NULL, which memmove does not take */
        for (size_t i = 0; i < n; i++)
                json_decref(reporter->points[i]);
        memmove(reporter->points, reporter->points + n, (reporter->n_points - n) * sizeof *reporter->points);
        reporter->n_points -= n;
}

static void queue_point(struct reporter *reporter, json_t *point) {
        if (reporter->n_points >= POINTS_WAITING_MAX) {
                if (reporter->n_dropped == 0)
                        log_warning("too many metric points wait: the oldest are dropped", log_s("trial", reporter->id));
                reporter->n_dropped += LIMIT_POINTS_PER_REPORT;
                drop_oldest(reporter, LIMIT_POINTS_PER_REPORT);
        }
        if (reporter->n_points == reporter->cap_points) {
                size_t cap = reporter->cap_points ? 2 * reporter->cap_points : 64;
                json_t **points = realloc(reporter->points, cap * sizeof *points);
                if (!points) {
                        json_decref(point);
                        return;
                }
                reporter->points = points;
                reporter->cap_points = cap;
        }
        reporter->points[reporter->n_points++] = point;
}

void reporter_keep_journal(struct reporter *reporter, const char *path, bool resumes) {
        struct error err;
        journal_close(TAKE(reporter->journal));
        if (journal_open(path, resumes, &reporter->journal, &err) < 0) {
                log_warning("metric points are not kept on disk", log_s("trial", reporter->id), log_s("why", err.text));
                return;
        }
        _cleanup_json_ json_t *points = journal_read(reporter->journal);
        for (size_t i = 0; i < json_array_size(points); i++)
                queue_point(reporter, json_incref(json_array_get(points, i)));
}

void reporter_add_point(struct reporter *reporter, json_t *point) {
        if (reporter->journal)
                journal_append(reporter->journal, point);
        queue_point(reporter, point);
}

void reporter_set_progress(struct reporter *reporter, double progress) {
        reporter->progress_is_news |= !reporter->has_progress || progress != reporter->progress;
        reporter->has_progress = true;
        reporter->progress = progress;
}

/* Moves the oldest points into a new body with the next seq. */
static json_t *make_body(struct reporter *reporter, json_t *outcome) {
        size_t n = reporter->n_points < LIMIT_POINTS_PER_REPORT ? reporter->n_points : LIMIT_POINTS_PER_REPORT;
        json_t *points = json_array();
        json_t *body = json_pack("{s:s, s:I, s:o, s:O?}", "lease", reporter->lease, "seq", (json_int_t)(reporter->seq + 1), "metrics", points,
                                 "outcome", outcome);
        if (!body)
                return NULL;
        for (size_t i = 0; i < n; i++)
                json_array_append(points, reporter->points[i]);
        if (reporter->has_progress)
                json_object_set_new(body, "progress", json_real(reporter->progress));
        drop_oldest(reporter, n);
        reporter->seq++;
        reporter->progress_is_news = false;
        return body;
}

static void on_answered(struct reporter *reporter, const struct net_answer *answer) {
        backoff_reset(&reporter->backoff);
        json_decref(TAKE(reporter->body));
        if (reporter->journal && reporter->n_points == 0)
                journal_clear(reporter->journal);
        double lease_s = json_number_value(json_object_get(answer->body, "lease_s"));
        reporter->lease_s = lease_s > 0 ? lease_s : reporter->lease_s;
        const char *command = json_string_value(json_object_get(answer->body, "command"));
        if (command && strcmp(command, "stop") == 0)
                reporter->callback(reporter->data, REPORT_STOP, NULL);
        else if (command && strcmp(command, "abort") == 0)
                reporter->callback(reporter->data, REPORT_ABORT, NULL);
}

static void on_answer(void *data, const struct net_answer *answer) {
        struct reporter *reporter = data;
        reporter->request = NULL;
        int status = answer->status;
        if (status >= 200 && status < 300) {
                on_answered(reporter, answer);
        } else if (status == 409 || status == 404 || status == 410) {
                json_decref(TAKE(reporter->body));
                reporter->callback(reporter->data, REPORT_LOST, net_why(answer));
        } else if (status == 400 || status == 413 || status == 415 || status == 422) {
                const char *detail = json_string_value(json_object_get(answer->body, "detail"));
                log_error("the coordinator refuses a report: its points are lost", log_s("trial", reporter->id), log_i("status", status),
                          log_s("why", detail));
                json_decref(TAKE(reporter->body));
        } else {
                double wait_s = backoff_fail(&reporter->backoff, world_mono_ms(reporter->world), answer->retry_after_s);
                log_warning("a report got no answer", log_s("trial", reporter->id), log_i("seq", reporter->seq), log_i("status", status),
                            log_s("why", answer->failure), log_f("again_in_s", wait_s));
        }
}

static bool has_something_due(const struct reporter *reporter, uint64_t now_ms) {
        double age_ms = (double)(now_ms - reporter->made_ms);
        bool news = reporter->n_points > 0 || reporter->progress_is_news;
        return (news && age_ms >= BATCH_MS) || reporter->n_points >= LIMIT_POINTS_PER_REPORT || age_ms >= reporter->lease_s * 1000 / 3;
}

void reporter_pump(struct reporter *reporter) {
        uint64_t now_ms = world_mono_ms(reporter->world);
        if (reporter->sealed || reporter->request || !backoff_is_due(&reporter->backoff, now_ms))
                return;
        if (!reporter->body) {
                if (!has_something_due(reporter, now_ms) || !(reporter->body = make_body(reporter, NULL)))
                        return;
                reporter->made_ms = now_ms;
        }
        double timeout_s = reporter->lease_s / 3 < ANSWER_TIMEOUT_S ? reporter->lease_s / 3 : ANSWER_TIMEOUT_S;
        if (net_send(reporter->net, "POST", reporter->path, reporter->body, timeout_s < 2 ? 2 : timeout_s, on_answer, reporter, &reporter->request) < 0)
                backoff_fail(&reporter->backoff, now_ms, 0);
}

json_t *reporter_seal(struct reporter *reporter, json_t *outcome) {
        net_cancel(TAKE(reporter->request)); /* its body goes into the parcel: with the same seq it counts once */
        reporter->sealed = true;
        json_t *reports = json_array();
        if (reporter->body)
                json_array_append_new(reports, TAKE(reporter->body));
        for (bool last = false; !last;) {
                last = reporter->n_points <= LIMIT_POINTS_PER_REPORT;
                json_t *body = make_body(reporter, last ? outcome : NULL);
                if (json_array_append_new(reports, body) < 0) {
                        json_decref(reports);
                        return NULL;
                }
        }
        return json_pack("{s:s, s:O?, s:o}", "trial", reporter->id, "sweep", json_object_get(reporter->trial, "sweep"), "reports", reports);
}
