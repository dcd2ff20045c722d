#include "hints.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/utf8.h"
#include "screen.h"
#include "sweeps.h"
#include "table.h"

#define WHY_BYTES 400 /* of what a failed trial said */

json_t *get_items(struct ctl *ctl, const char *path) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct error err;
        if (client_request(ctl->client, "GET", path, NULL, false, &answer, &err) < 0 || answer.status != 200)
                return NULL;
        return json_incref(json_object_get(answer.body, "items"));
}

static bool is_state(const json_t *object, const char *wanted) {
        const char *state = field_text(object, "state");
        return state && strcmp(state, wanted) == 0;
}

/* Why the coordinator gives this worker no trials of the sweep, NULL where it would. */
static const char *excluded_from(const json_t *worker, const char *sweep) {
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(worker, "excluded"), i, item) {
                const char *id = field_text(item, "sweep");
                if (id && strcmp(id, sweep) == 0)
                        return field_text(item, "why");
        }
        return NULL;
}

bool hint_waiting(struct ctl *ctl, const json_t *sweep, char *ret, size_t size) {
        const char *id = field_text(sweep, "id"), *first_name = NULL, *first_why = NULL;
        size_t i, n_active = 0, n_excluded = 0, n_busy = 0;
        if (!id || !is_state(sweep, "running") || count_of(sweep, "running") > 0)
                return false;
        _cleanup_json_ json_t *workers = get_items(ctl, "/v1/workers?limit=1000");
        json_t *worker;
        json_array_foreach(workers, i, worker) {
                const char *reason = excluded_from(worker, id);
                if (!is_state(worker, "active"))
                        continue;
                n_active++;
                n_excluded += reason != NULL;
                n_busy += !reason && (double)json_array_size(json_object_get(worker, "trials")) >= field_number(worker, "slots");
                if (reason && !first_why) {
                        first_why = reason;
                        first_name = field_text(worker, "name");
                }
        }
        if (!workers)
                return false;
        if (json_array_size(workers) == 0)
                snprintf(ret, size, "for the first worker (sweep-worker --coordinator URL starts one)");
        else if (n_active == 0)
                snprintf(ret, size, "none of the workers is active: sweepctl workers");
        else if (n_excluded == n_active)
                snprintf(ret, size, "no worker takes it; %s: %s", first_name ? first_name : "?", first_why);
        else if (n_busy == n_active - n_excluded)
                snprintf(ret, size, "for a free slot: the workers are busy with other sweeps");
        else
                return false;
        screen_one_line(ret);
        return true;
}

bool hint_paused(const json_t *sweep, char *ret, size_t size) {
        const char *id = field_text(sweep, "id");
        if (!id || !is_state(sweep, "paused"))
                return false;
        snprintf(ret, size, "sweepctl resume %s goes on, sweepctl edit changes what comes, sweepctl history says why it is", id);
        return true;
}

bool hint_failed(struct ctl *ctl, const json_t *sweep, char *ret, size_t size) {
        char path[256], why[WHY_BYTES] = "";
        const char *id = field_text(sweep, "id");
        if (!id || count_of(sweep, "failed") == 0)
                return false;
        snprintf(path, sizeof path, "/v1/sweeps/%.40s/trials?state=failed&limit=1", id);
        _cleanup_json_ json_t *items = get_items(ctl, path);
        const json_t *trial = json_array_get(items, 0);
        const char *reason = field_text(trial, "reason"), *detail = field_text(trial, "detail"), *name = field_text(trial, "id");
        if (!trial || !name)
                return false;
        utf8_copy(why, sizeof why, detail ? detail : "");
        screen_one_line(why);
        snprintf(ret, size, "trial %.0f (%s)%s%s%s%s", field_number(trial, "number"), name, reason ? ", " : "", reason ? reason : "", *why ? ": " : "", why);
        return true;
}
