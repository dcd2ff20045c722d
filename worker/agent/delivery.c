#include "agent/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backoff.h"
#include "agent/outbox.h"
#include "common/cleanup.h"
#include "common/log.h"

#define IN_FLIGHT_MAX 4
#define TIMEOUT_S 15.0

struct parcel {
        struct delivery *delivery;
        struct parcel *next;
        char *name; /* in the outbox; NULL when the disk refused it */
        json_t *content;
        struct net_request *request; /* of reports[0] */
        struct backoff backoff;
};

struct delivery {
        struct net *net;
        const struct world *world;
        const char *folder;
        struct parcel *parcels; /* oldest first */
        size_t n, n_in_flight;
};

static const char *trial_of(const struct parcel *parcel) {
        return json_string_value(json_object_get(parcel->content, "trial"));
}

static json_t *first_report(const struct parcel *parcel) {
        return json_array_get(json_object_get(parcel->content, "reports"), 0);
}

static void parcel_free(struct parcel *parcel) {
        net_cancel(parcel->request);
        json_decref(parcel->content);
        free(parcel->name);
        free(parcel);
}

static void finish(struct parcel *parcel) {
        struct delivery *delivery = parcel->delivery;
        struct parcel **link = &delivery->parcels;
        while (*link != parcel)
                link = &(*link)->next;
        *link = parcel->next;
        delivery->n--;
        if (parcel->name)
                outbox_remove(delivery->folder, parcel->name);
        parcel_free(parcel);
}

static struct parcel *append(struct delivery *delivery, const char *name, json_t *content) {
        struct parcel *parcel = calloc(1, sizeof *parcel);
        if (!parcel || (name && !(parcel->name = strdup(name)))) {
                free(parcel);
                return NULL;
        }
        parcel->delivery = delivery;
        parcel->content = json_incref(content);
        uint64_t seed;
        delivery->world->random_bytes(delivery->world->data, &seed, sizeof seed);
        backoff_init(&parcel->backoff, seed, 0.25, 5);
        struct parcel **link = &delivery->parcels;
        while (*link)
                link = &(*link)->next;
        *link = parcel;
        delivery->n++;
        return parcel;
}

int delivery_new(struct net *net, const struct world *world, const char *folder, struct delivery **ret) {
        struct delivery *delivery = calloc(1, sizeof *delivery);
        _cleanup_json_ json_t *parcels = outbox_load(folder);
        if (!delivery || !parcels) {
                free(delivery);
                return -ENOMEM;
        }
        *delivery = (struct delivery){.net = net, .world = world, .folder = folder};
        const char *name;
        json_t *content;
        json_object_foreach(parcels, name, content) append(delivery, name, content);
        *ret = delivery;
        return 0;
}

void delivery_free(struct delivery *delivery) {
        if (!delivery)
                return;
        for (struct parcel *next, *parcel = delivery->parcels; parcel; parcel = next) {
                next = parcel->next;
                parcel_free(parcel);
        }
        free(delivery);
}

void delivery_add(struct delivery *delivery, json_t *content) {
        _cleanup_json_ json_t *owned = content;
        _cleanup_free_ char *name = NULL;
        struct error err;
        if (outbox_put(delivery->folder, content, &name, &err) < 0)
                log_error("a result cannot be kept on disk", log_s("why", err.text));
        if (!append(delivery, name, owned))
                log_error("out of memory: a result is sent at the next start");
}

/* The coordinator refuses the body. What may be wrong is taken out step by step, so that a trial's end is not lost. */
static void mend(struct parcel *parcel, int status) {
        json_t *report = first_report(parcel), *outcome = json_object_get(report, "outcome");
        log_error("the coordinator refuses a report", log_s("trial", trial_of(parcel)), log_i("status", status));
        if (json_array_size(json_object_get(report, "metrics")) > 0) {
                json_object_del(report, "metrics");
        } else if (json_array_size(json_object_get(parcel->content, "reports")) > 1) {
                json_array_remove(json_object_get(parcel->content, "reports"), 0);
        } else if (json_is_object(outcome) && strcmp(json_string_value(json_object_get(outcome, "state")), "failed") != 0) {
                json_object_set_new(report, "outcome", json_pack("{s:s, s:s, s:s}", "state", "failed", "reason", "crashed", "detail",
                                                                 "the coordinator refused the outcome"));
        } else {
                finish(parcel);
        }
}

static void on_answer(void *data, const struct net_answer *answer) {
        struct parcel *parcel = data;
        struct delivery *delivery = parcel->delivery;
        parcel->request = NULL;
        delivery->n_in_flight--;
        int status = answer->status;
        if (status >= 200 && status < 300) {
                backoff_reset(&parcel->backoff);
                json_t *reports = json_object_get(parcel->content, "reports");
                json_array_remove(reports, 0);
                if (json_array_size(reports) == 0) {
                        log_debug("result delivered", log_s("trial", trial_of(parcel)));
                        finish(parcel);
                }
        } else if (status == 409 || status == 404 || status == 410) {
                log_warning("a result came too late: its lease is no longer valid", log_s("trial", trial_of(parcel)), log_i("status", status),
                            log_s("why", net_why(answer)));
                finish(parcel);
        } else if (status == 400 || status == 413 || status == 415 || status == 422) {
                mend(parcel, status);
        } else {
                double wait_s = backoff_fail(&parcel->backoff, world_mono_ms(delivery->world), answer->retry_after_s);
                log_warning("a result cannot be delivered yet", log_s("trial", trial_of(parcel)), log_i("status", status),
                            log_s("why", net_why(answer)), log_f("again_in_s", wait_s));
        }
        delivery_pump(delivery);
}

static void send(struct parcel *parcel) {
        char path[128];
        struct delivery *delivery = parcel->delivery;
        snprintf(path, sizeof path, "/v1/trials/%s/report", trial_of(parcel));
        int r = net_send(delivery->net, "POST", path, first_report(parcel), TIMEOUT_S, on_answer, parcel, &parcel->request);
        if (r < 0)
                backoff_fail(&parcel->backoff, world_mono_ms(delivery->world), 0);
        else
                delivery->n_in_flight++;
}

void delivery_pump(struct delivery *delivery) {
        uint64_t now_ms = world_mono_ms(delivery->world);
        for (struct parcel *parcel = delivery->parcels; parcel && delivery->n_in_flight < IN_FLIGHT_MAX; parcel = parcel->next)
                if (!parcel->request && backoff_is_due(&parcel->backoff, now_ms))
                        send(parcel);
}

void delivery_hurry(struct delivery *delivery) {
        for (struct parcel *parcel = delivery->parcels; parcel; parcel = parcel->next)
                parcel->backoff.due_ms = 0;
}

bool delivery_has(const struct delivery *delivery, const char *trial) {
        for (const struct parcel *parcel = delivery->parcels; parcel; parcel = parcel->next) {
                const char *other = trial_of(parcel);
                if (other && strcmp(other, trial) == 0)
                        return true;
        }
        return false;
}

size_t delivery_count(const struct delivery *delivery) {
        return delivery->n;
}

int delivery_is_stuck(const struct delivery *delivery) {
        for (const struct parcel *parcel = delivery->parcels; parcel; parcel = parcel->next)
                if (parcel->request || parcel->backoff.n_failures < 4)
                        return 0;
        return delivery->n > 0;
}
