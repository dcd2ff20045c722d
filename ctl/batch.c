#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/world.h"
#include "proto/limits.h"

#define BATCH_POINTS 2000 /* of all series in a request; a trial that has more goes alone */
#define KEY_CHARS_MAX (LIMIT_IDEMPOTENCY_KEY_BYTES - 32)

static int choose_key(const struct ctl *ctl, char ret[static KEY_CHARS_MAX + 1]) {
        const char *given = config_text(ctl->config, "key");
        if (!given) {
                world_make_id(world_real(), "ctl-", 26, ret);
                return EXIT_FINE;
        }
        size_t len = strlen(given);
        if (len == 0 || len > KEY_CHARS_MAX || strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-") != len) {
                fprintf(stderr, "sweepctl: --key is up to %d letters, digits, '.', '_', '~' and '-'\n", KEY_CHARS_MAX);
                return EXIT_USAGE;
        }
        memcpy(ret, given, len + 1);
        return EXIT_FINE;
}

/* How many trials from `first` on one request holds. */
static size_t count_next(const json_t *trials, size_t first) {
        size_t n = 0, points = 0;
        for (; n < BATCH_TRIALS && first + n < json_array_size(trials); n++) {
                points += json_array_size(json_object_get(json_array_get(trials, first + n), "metrics"));
                if (n > 0 && points > BATCH_POINTS)
                        break;
        }
        return n;
}

static json_t *slice(const json_t *trials, size_t first, size_t n) {
        json_t *body = json_pack("{s:[]}", "trials");
        for (size_t i = 0; body && i < n; i++)
                if (json_array_append(json_object_get(body, "trials"), json_array_get(trials, first + i)) < 0) {
                        json_decref(body);
                        return NULL;
                }
        return body;
}

/* "/trials/3/params/x" of the second request is "/trials/253/params/x" of what the person gave. */
static void shift_pointers(json_t *problem, size_t first) {
        size_t i;
        json_t *fault;
        json_array_foreach(json_object_get(problem, "errors"), i, fault) {
                const char *pointer = field_text(fault, "pointer");
                unsigned long item;
                int at = 0;
                if (pointer && sscanf(pointer, "/trials/%lu%n", &item, &at) == 1)
                        json_object_set_new(fault, "pointer", json_sprintf("/trials/%lu%s", item + first, pointer + at));
        }
}

/* is_sure: that nothing came of the request that failed. */
static void tell_how_to_go_on(const char *key, size_t taken, size_t n, bool is_sure) {
        if (taken == 0 && is_sure)
                return;
        fprintf(stderr, "sweepctl: %zu of %zu trials were taken%s\n", taken, n,
                is_sure ? ", and none from there on" : "; what became of the next ones is not known");
        fprintf(stderr, "  → the same command with --key %s goes on there and takes nothing twice, for a day; what comes before must stay as it is\n",
                key);
}

/* Only a key that came with other trials is refused without a fault. */
static bool is_key_spent(const struct ctl *ctl, const struct answer *answer) {
        return config_text(ctl->config, "key") && answer->status == 422 && !json_object_get(answer->body, "errors");
}

static void tell_of_other_trials(const char *key, size_t first, size_t step) {
        fprintf(stderr, "sweepctl: trials %zu to %zu are not quite those that came in their place with --key %s before: nothing was done with them now, "
                        "but those among them that came then were taken\n", first + 1, first + step, key);
        fprintf(stderr, "  → a key is for sending the same trials again: give them as they were, and those that are new alone and without --key\n");
}

int batch_send(struct ctl *ctl, const char *path, const json_t *trials, void (*tell)(void *data, const struct answer *refusal), void *data,
               json_t **ret_items) {
        char key[KEY_CHARS_MAX + 1];
        int code = choose_key(ctl, key);
        if (code != EXIT_FINE)
                return code;
        size_t n = json_array_size(trials), first = 0, step;
        _cleanup_json_ json_t *items = json_array();
        while (items && first < n && (step = count_next(trials, first)) > 0) {
                __attribute__((cleanup(answer_fini))) struct answer answer = {0};
                _cleanup_json_ json_t *body = slice(trials, first, step);
                char place[sizeof key + 32];
                struct error err;
                bool is_sure = true;
                if (!body)
                        return EXIT_FAILED;
                snprintf(place, sizeof place, "%s.%zu", key, first);
                int r = client_post(ctl->client, path, body, place, &answer, &err);
                if (r < 0) {
                        code = ctl_fail(&err);
                        is_sure = r == -ECONNREFUSED;
                } else if (answer.status != 201) {
                        code = EXIT_FAILED;
                        is_sure = answer.status < 500 && answer.status != 429; /* these can follow on a lost answer */
                        shift_pointers(answer.body, first);
                        if (ctl->json && answer.body)
                                ctl_print_json(answer.body);
                        tell(data, &answer);
                }
                if (code != EXIT_FINE && is_key_spent(ctl, &answer))
                        tell_of_other_trials(key, first, step);
                else if (code != EXIT_FINE)
                        tell_how_to_go_on(key, first, n, is_sure);
                if (code != EXIT_FINE)
                        return code;
                if (json_array_extend(items, json_object_get(answer.body, "items")) < 0)
                        return EXIT_FAILED;
                first += step;
        }
        if (!items)
                return EXIT_FAILED;
        *ret_items = TAKE(items);
        return EXIT_FINE;
}
