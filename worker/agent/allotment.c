#include "agent/allotment.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/measurement.h"
#include "agent/registration.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/memory.h"

#define FILE_NAME "divisions.json"
#define COPIES 4 /* of the weights in a training: themselves, gradients, two moments */

struct allotment {
        struct allotment_plan plan;
        struct division divisions[DIVISION_MAX];
        size_t n;
        char *path;  /* of the file */
        json_t *key; /* NULL: nothing to measure */
        struct measurement *measurement;
        bool is_cancelled;
};

static double room_mib(const char **ret_from) {
        struct memory_room room;
        memory_look("", &room);
        *ret_from = room.resident_from ? room.resident_from : "machine";
        return (double)room.resident_bytes / (1 << 20);
}

void allotment_free(struct allotment *allotment) {
        if (!allotment)
                return;
        measurement_free(allotment->measurement);
        json_decref(allotment->key);
        free(allotment->path);
        free(allotment);
}

/* Numbers that were given count, but who gave them hears when that cannot go well. */
static void warn_of_memory(const struct agent_options *options, const struct division *division) {
        _cleanup_free_ char *weights = fs_join(options->model_dir, "model.safetensors");
        struct stat st;
        const char *from;
        double room = room_mib(&from);
        if (!weights || stat(weights, &st) < 0)
                return;
        double needs = (double)division->slots * COPIES * (double)st.st_size / (1 << 20);
        if (needs > room)
                log_warning("so many slots may not fit in memory", log_i("slots", division->slots), log_f("needs_mib", needs), log_f("available_mib", room),
                            log_s("by_the", from));
}

int allotment_new(const struct allotment_plan *plan, struct allotment **ret, struct error *err) {
        const struct agent_options *options = plan->options;
        struct allotment *allotment = calloc(1, sizeof *allotment);
        if (!allotment)
                return error_set(err, -ENOMEM, "out of memory");
        allotment->plan = *plan;
        allotment->path = fs_join(plan->folder, FILE_NAME);
        allotment->n = division_list(machine_cores(), options->slots, options->threads, allotment->divisions);
        if (allotment->n > 1 && options->serves_distilbert) {
                allotment->key = registration_key(options, plan->registration);
                if (allotment->key && allotment->path)
                        division_recall(allotment->path, allotment->key, allotment->divisions, allotment->n);
        } else if (options->serves_distilbert)
                warn_of_memory(options, allotment->divisions);
        *ret = allotment;
        return 0;
}

static void decide(struct allotment *allotment, const char *how) {
        const struct agent_options *options = allotment->plan.options;
        const char *from;
        const struct division *best = allotment->key ? division_best(allotment->divisions, allotment->n, room_mib(&from)) : NULL;
        struct division chosen;
        if (best)
                chosen = *best;
        else if (allotment->n == 1) {
                chosen = allotment->divisions[0];
                how = "given";
        } else if (allotment->key && strcmp(how, "guessed") != 0) { /* none of them fits now */
                chosen = allotment->divisions[0];
                how = "fewest, as memory is short";
        } else {
                registration_guess(options, &chosen);
                how = "guessed";
        }
        log_info("slots and threads", log_i("slots", chosen.slots), log_i("threads", chosen.threads), log_s("how", how),
                 log_f("tokens_per_s", chosen.tokens_per_s));
        allotment->plan.done(allotment->plan.data, &chosen, division_to_json(allotment->divisions, allotment->n));
}

static void on_measured(void *data, const struct measurement_result *result) {
        struct allotment *allotment = data;
        struct error err;
        if (allotment->is_cancelled) {
                allotment->plan.done(allotment->plan.data, NULL, NULL);
                return;
        }
        memcpy(allotment->divisions, result->divisions, result->n * sizeof *result->divisions);
        if (result->failure)
                log_warning("the best number of slots cannot be measured", log_s("why", result->failure));
        else if (division_remember(allotment->path, allotment->key, allotment->divisions, allotment->n, &err) < 0)
                log_warning("what was measured is not remembered", log_s("why", err.text));
        decide(allotment, result->failure ? "guessed" : "measured");
}

/* Everything that would fit now was measured before. */
static bool is_known(const struct allotment *allotment) {
        double each = 0;
        const char *from;
        for (size_t i = 0; i < allotment->n; i++)
                each = allotment->divisions[i].memory_mib > each ? allotment->divisions[i].memory_mib : each;
        for (size_t i = 0; i < allotment->n; i++) {
                struct division guess = allotment->divisions[i];
                guess.memory_mib = each;
                if (guess.tokens_per_s <= 0 && (each <= 0 || division_needs_mib(&guess) <= room_mib(&from)))
                        return false;
        }
        return true;
}

void allotment_pump(struct allotment *allotment) {
        if (allotment->measurement) {
                measurement_pump(allotment->measurement);
                return;
        }
        if (allotment->is_cancelled) {
                allotment->plan.done(allotment->plan.data, NULL, NULL);
                return;
        }
        if (!allotment->key || is_known(allotment)) {
                decide(allotment, "remembered");
                return;
        }
        log_info("measuring which slots and threads train most, once: takes seconds to minutes", log_i("ways", allotment->n));
        struct measurement_plan plan = {
                .loop = allotment->plan.loop,
                .world = allotment->plan.world,
                .options = allotment->plan.options,
                .folder = allotment->plan.folder,
                .n = allotment->n,
                .data = allotment,
                .done = on_measured,
        };
        memcpy(plan.divisions, allotment->divisions, sizeof plan.divisions);
        if (measurement_start(&plan, &allotment->measurement) < 0)
                decide(allotment, "guessed");
        else
                measurement_pump(allotment->measurement);
}

void allotment_cancel(struct allotment *allotment) {
        allotment->is_cancelled = true;
        if (allotment->measurement)
                measurement_cancel(allotment->measurement);
}
