/* What the model makes of a sweep: …/best, …/importance and …/slice.
 *
 * An answer is computed on another thread from a snapshot, once per state of the evidence; calls wait for it without holding
 * anything up, and several that ask the same share one computation. A call gets the answer of the moment at which it asked. */
#include <string.h>

#include "api/core.h"

struct inquiry {
        enum plan_question question;
        const char *parameter, *parameter2;
        char key[2 * LIMIT_NAME_BYTES + 32];
};

void explain_forget(struct live *live) {
        for (size_t i = 0; i < N_KNOWN_ANSWERS; i++) {
                free(live->known[i].key);
                json_decref(live->known[i].answer);
                live->known[i] = (struct known_answer){0};
        }
}

static json_t *find_known(const struct live *live, const char *key) {
        for (size_t i = 0; i < N_KNOWN_ANSWERS; i++) {
                const struct known_answer *known = &live->known[i];
                if (known->key && known->evidence == plan_evidence(live->plan) && strcmp(known->key, key) == 0)
                        return known->answer;
        }
        return NULL;
}

static void keep_known(struct live *live, const char *key, json_t *answer) {
        struct known_answer *known = &live->known[live->next_known];
        char *copy = strdup(key);
        if (!copy)
                return;
        free(known->key);
        json_decref(known->answer);
        *known = (struct known_answer){copy, plan_evidence(live->plan), json_incref(answer)};
        live->next_known = (live->next_known + 1) % N_KNOWN_ANSWERS;
}

/* --- best: the model's words and the store's trials ------------------------------------------------------------ */

static int encode_numbered(struct api *api, int64_t sweep, uint64_t number, json_t **ret) {
        struct trial_row row = {0};
        size_t n = 0;
        int r = store_trial_list(api->store, sweep, -1, number - 1, 1, &row, &n);
        if (r == 0)
                r = n == 1 && row.number == number ? encode_trial(api, &row, ret) : -ENOENT;
        trial_row_fini(&row);
        return r;
}

static int answer_best(struct api *api, struct api_call *call, const struct live *live, const json_t *answer) {
        struct trial_row row = {0};
        _cleanup_json_ json_t *trial = NULL, *recommended = NULL;
        bool maximize = live->spec->metric.maximize;
        int r = store_trial_best(api->store, live->row.id, maximize, &row);
        if (r == 0)
                r = encode_trial(api, &row, &trial);
        trial_row_fini(&row);
        const json_t *number = json_object_get(answer, "recommended");
        if (r >= 0 && json_is_integer(number))
                r = encode_numbered(api, live->row.id, (uint64_t)json_integer_value(number), &recommended);
        if (r < 0)
                return r;
        const char *metric = *live->spec->metric.name ? live->spec->metric.name : NULL;
        json_t *body = json_pack("{s:O?, s:s, s:s?, s:s}", "trial", trial, "sweep", live->row.public_id, "metric", metric, "goal",
                                 maximize ? "maximize" : "minimize");
        if (!body || json_object_update_missing(body, (json_t *)answer) < 0 ||
            json_object_set(body, "recommended", recommended ? recommended : json_null()) < 0) {
                json_decref(body);
                return -ENOMEM;
        }
        return reply_json(call, 200, body);
}

static int answer_with(struct api *api, struct api_call *call, const struct live *live, json_t *answer) {
        if (call->request.route == ROUTE_SWEEP_BEST)
                return answer_best(api, call, live, answer);
        return reply_json(call, 200, json_incref(answer));
}

/* --- asking ---------------------------------------------------------------------------------------------------- */

static int submit(struct live *live, const struct inquiry *inquiry, struct plan_job **ret) {
        int r = plan_ask(live->plan, inquiry->question, inquiry->parameter, inquiry->parameter2, ret);
        if (r == 0)
                plan_job_set_tag(*ret, live->row.id);
        return r;
}

static int wait_for(struct api *api, struct api_call *call, struct live *live, const struct inquiry *inquiry) {
        if (!api->asked)
                api->asked = calloc(MAX_ASKED, sizeof *api->asked);
        if (!api->asked)
                return -ENOMEM;
        if (api->n_asked == MAX_ASKED) {
                reply_unavailable(call, "too many questions are waiting");
                return 0;
        }
        struct asked asked = {.call = call, .sweep = live->row.id, .key = strdup(inquiry->key)};
        struct plan_job *job = NULL;
        if (!asked.key)
                return -ENOMEM;
        for (size_t i = 0; i < api->n_asked && !asked.job; i++) {
                const struct asked *other = &api->asked[i];
                if (other->sweep == asked.sweep && other->evidence == plan_evidence(live->plan) && strcmp(other->key, asked.key) == 0)
                        asked.job = other->job;
        }
        asked.evidence = plan_evidence(live->plan);
        int r = asked.job ? 0 : submit(live, inquiry, &job);
        if (r != 0) {
                free(asked.key);
                if (r > 0)
                        return reply_fault(call, r == PLAN_NO_PARAMETER ? "/parameter" : "/parameter2", "is no parameter that this sweep varies");
                return r;
        }
        if (job)
                asked.job = job;
        api->asked[api->n_asked++] = asked;
        if (job)
                api->config.submit_job(api->config.job_data, job);
        return HANDLER_PARKED;
}

static int read_inquiry(struct api_call *call, enum plan_question question, struct inquiry *ret) {
        struct list_query query;
        int r = reply_query(call, question == PLAN_ASKS_SLICE ? LIST_SLICE : LIST_NOTHING, &query);
        if (r != 0)
                return r;
        *ret = (struct inquiry){.question = question, .parameter = query.parameter, .parameter2 = query.parameter2};
        snprintf(ret->key, sizeof ret->key, "%d %s\n%s", (int)question, query.parameter ? query.parameter : "",
                 query.parameter2 ? query.parameter2 : "");
        return 0;
}

static int ask(struct api *api, struct api_call *call, enum plan_question question) {
        struct inquiry inquiry;
        struct sweep_row row = {0};
        struct live *live;
        int r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        if (r == 0)
                r = read_inquiry(call, question, &inquiry);
        if (r == 0)
                r = live_get(api, row.id, &live);
        sweep_row_fini(&row);
        if (r == ANSWERED)
                return 0;
        if (r == -EINVAL)
                return reply_problem(call, 409, "the sweep's spec cannot be read any more");
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        json_t *known = find_known(live, inquiry.key);
        return known ? answer_with(api, call, live, known) : wait_for(api, call, live, &inquiry);
}

int explain_best(struct api *api, struct api_call *call) {
        return ask(api, call, PLAN_ASKS_BEST);
}

int explain_importance(struct api *api, struct api_call *call) {
        return ask(api, call, PLAN_ASKS_IMPORTANCE);
}

int explain_slice(struct api *api, struct api_call *call) {
        return ask(api, call, PLAN_ASKS_SLICE);
}

/* --- answering ------------------------------------------------------------------------------------------------- */

void explain_job_done(struct api *api, struct plan_job *job) {
        struct live *live = NULL;
        for (size_t i = 0; i < api->n_lives && !live; i++)
                if (api->lives[i]->row.id == plan_job_tag(job))
                        live = api->lives[i];
        _cleanup_json_ json_t *answer = live ? plan_job_answer(job, live->plan) : NULL;
        bool is_kept = false;
        for (size_t i = 0; i < api->n_asked; i++) {
                struct asked *asked = &api->asked[i];
                if (asked->job != job)
                        continue;
                asked->job = NULL;
                asked->answer = json_incref(answer);
                if (answer && !is_kept && asked->evidence == plan_evidence(live->plan)) {
                        keep_known(live, asked->key, answer);
                        is_kept = true;
                }
        }
        plan_job_free(job);
}

bool explain_has_answers(const struct api *api) {
        for (size_t i = 0; i < api->n_asked; i++)
                if (!api->asked[i].job)
                        return true;
        return false;
}

static void asked_fini(struct asked *asked) {
        free(asked->key);
        json_decref(asked->answer);
}

void explain_answer_all(struct api *api) {
        size_t kept = 0;
        for (size_t i = 0; i < api->n_asked; i++) {
                struct asked *asked = &api->asked[i];
                if (asked->job) {
                        api->asked[kept++] = *asked;
                        continue;
                }
                struct live *live = NULL;
                int r = live_get(api, asked->sweep, &live);
                if (r == STORE_NONE)
                        r = reply_problem(asked->call, 404, "the sweep is gone");
                else if (r == 0 && asked->answer)
                        r = answer_with(api, asked->call, live, asked->answer);
                if (r < 0 || !asked->call->response.status)
                        reply_unavailable(asked->call, "the model could not be asked: try again");
                api_answer(api, asked->call);
                asked_fini(asked);
        }
        api->n_asked = kept;
}

void explain_refuse_all(struct api *api, const char *detail) {
        for (size_t i = 0; i < api->n_asked; i++) {
                reply_unavailable(api->asked[i].call, detail);
                api_answer(api, api->asked[i].call);
                asked_fini(&api->asked[i]);
        }
        api->n_asked = 0;
}
