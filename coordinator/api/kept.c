/* Kept models: which may come, which there are. Their bytes go past the core thread: the HTTP server hands them to models/. */
#include <string.h>

#include "api/core.h"
#include "models/models.h"

#define LISTED_MAX LIMIT_LIST_MAX

static int answer_off(struct api_call *call) {
        return reply_problem(call, 404, "this server keeps no models: start it with --models-dir DIR");
}

/* --- offers --------------------------------------------------------------------------------------------- */

static void describe(struct model *model, const struct trial_row *row, const struct model_offer *offer, bool maximize, uint64_t wall_ms) {
        *model = (struct model){
                .number = row->number,
                .attempt = row->attempt,
                .value = row->value,
                .maximize = maximize,
                .created_ms = wall_ms,
                .n_files = offer->n_files,
        };
        snprintf(model->trial, sizeof model->trial, "%s", row->public_id);
        snprintf(model->sweep, sizeof model->sweep, "%s", row->sweep_public_id);
        for (size_t i = 0; i < offer->n_files; i++) {
                struct model_file *file = &model->files[i];
                snprintf(file->name, sizeof file->name, "%s", offer->files[i].name);
                snprintf(file->sha256, sizeof file->sha256, "%s", offer->files[i].sha256);
                file->bytes = (uint64_t)offer->files[i].bytes;
        }
}

static int answer_progress(struct api_call *call, const struct model *model, const struct model_progress *progress) {
        static const char *const names[] = {[MODEL_WANTED] = "wanted", [MODEL_STORING] = "storing", [MODEL_KEPT] = "kept", [MODEL_DECLINED] = "declined"};
        json_t *files = json_array();
        for (size_t i = 0; progress->state == MODEL_WANTED && i < model->n_files; i++)
                json_array_append_new(files, json_pack("{s:s, s:I}", "name", model->files[i].name, "received", (json_int_t)progress->received[i]));
        return reply_json(call, 200, json_pack("{s:s, s:o, s:o}", "state", names[progress->state], "detail", encode_text(progress->why), "files", files));
}

static bool has_model_of(const struct trial_row *row, unsigned attempt) {
        return row->attempt == attempt && (row->state == TRIAL_COMPLETED || row->state == TRIAL_STOPPED) && row->has_value;
}

static int take_offer(struct api *api, struct api_call *call, const struct trial_row *row, const struct attempt_row *attempt,
                      const struct model_offer *offer) {
        if (!has_model_of(row, attempt->attempt))
                return reply_problem(call, 409, "the trial did not end with a value on this lease");
        struct live *live;
        int r = live_get(api, row->sweep, &live);
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        struct model model;
        struct model_progress progress = {0};
        describe(&model, row, offer, live->spec->metric.maximize, api_wall(api));
        r = models_offer(api->config.models, &model, offer->lease, &progress);
        return r < 0 ? r : answer_progress(call, &model, &progress);
}

int kept_offer(struct api *api, struct api_call *call) {
        struct model_offer offer;
        struct faults faults = {0};
        int r = reply_decoded(call, model_offer_decode(call->request.body, &faults, &offer), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        if (!api->config.models)
                return answer_off(call);
        struct trial_row row = {0};
        struct attempt_row attempt = {0};
        r = report_find_lease(api, call, offer.lease, &row, &attempt);
        if (r == 0)
                r = take_offer(api, call, &row, &attempt, &offer);
        attempt_row_fini(&attempt);
        trial_row_fini(&row);
        return r < 0 ? r : 0;
}

/* --- questions ------------------------------------------------------------------------------------------ */

int kept_get(struct api *api, struct api_call *call) {
        struct list_query query;
        struct trial_row row = {0};
        struct model model;
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        if (!api->config.models)
                return answer_off(call);
        r = store_trial_get(api->store, call->request.id, &row);
        trial_row_fini(&row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no trial '%s'", call->request.id);
        if (r < 0)
                return r;
        if (!models_find(api->config.models, call->request.id, &model))
                return reply_problem(call, 404, "no model of trial '%s' is kept here", call->request.id);
        return reply_json(call, 200, model_encode(&model));
}

int kept_list(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        if (!api->config.models)
                return answer_off(call);
        r = store_sweep_get(api->store, call->request.id, &row);
        sweep_row_fini(&row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        if (r < 0)
                return r;
        _cleanup_free_ struct model *list = calloc(LISTED_MAX, sizeof *list);
        if (!list)
                return -ENOMEM;
        size_t n = models_list(api->config.models, call->request.id, list, LISTED_MAX);
        json_t *items = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(items, model_encode(&list[i]));
        return reply_page(call, items, NULL);
}

/* --- letting go ------------------------------------------------------------------------------------------- */

void kept_note_gone(struct api *api, const char *sweep, const char *trial) {
        if (!api->config.models)
                return;
        if (!api->gone)
                api->gone = json_array();
        json_array_append_new(api->gone, json_pack("{s:s}", sweep ? "sweep" : "trial", sweep ? sweep : trial));
}

void kept_settle(struct api *api, bool is_committed) {
        size_t i;
        json_t *item;
        json_array_foreach(api->gone, i, item) {
                const char *sweep = json_string_value(json_object_get(item, "sweep")), *trial = json_string_value(json_object_get(item, "trial"));
                if (is_committed && sweep)
                        models_forget_sweep(api->config.models, sweep);
                else if (is_committed && trial)
                        models_forget_trial(api->config.models, trial);
        }
        json_decref(TAKE(api->gone));
}

int kept_reconcile(struct api *api) {
        size_t n = 0;
        uint64_t bytes;
        int r = 0;
        if (!api->config.models)
                return 0;
        models_count(api->config.models, &n, &bytes);
        _cleanup_free_ struct model *list = calloc(n + 1, sizeof *list);
        if (!list)
                return -ENOMEM;
        n = models_list(api->config.models, NULL, list, n);
        for (size_t i = 0; i < n && r >= 0; i++) {
                struct trial_row row = {0};
                r = store_trial_get(api->store, list[i].trial, &row);
                if (r == STORE_NONE || (r == 0 && !has_model_of(&row, list[i].attempt)))
                        models_forget_trial(api->config.models, list[i].trial);
                trial_row_fini(&row);
        }
        return r < 0 ? r : 0;
}
