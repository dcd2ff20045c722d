/* Tells webhooks what happened, from a thread of its own: the only user of libcurl in the coordinator. What is to be told lies
 * in an outbox that the caller lends as two functions, which this thread alone calls.
 *
 * A message is sent again until somebody answers 2xx, after waits that double from 2 s to an hour, NOTIFY_ATTEMPTS_MAX times at
 * most. Redirects are not followed and proxies of the environment are not used: a message goes to the address that the
 * server's owner named, or nowhere. Other messages wait during an attempt (10 s at most), nothing else does. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define NOTIFY_ATTEMPTS_MAX 16 /* about seven hours */

struct notify_message {
        int64_t id, sweep;
        char *event, *url, *body; /* freed with free() by notify */
        unsigned attempts; /* before this one */
};

struct notify_result {
        unsigned attempts;
        bool is_delivered, is_over; /* over: delivered, or given up */
        uint64_t wait_ms;           /* until the next attempt, unless it is over */
        const char *text;           /* "host answered 200" */
};

#define NOTIFY_NONE 1
struct notify_outbox {
        int (*next)(void *data, struct notify_message *ret); /* one that is due: 0, NOTIFY_NONE or negative */
        int (*tell)(void *data, const struct notify_message *message, const struct notify_result *result);
        void *data; /* outlives the notifier */
};

struct notifier;

/* May the URL be one of a webhook? http or https, with a host, without a name and password. -EINVAL with a sentence. */
int notify_check_url(const char *url, struct error *err);

/* secret: signs messages; NULL = none. Copied. */
int notify_new(const struct notify_outbox *outbox, const char *secret, struct notifier **ret, struct error *err);
void notify_free(struct notifier *notifier); /* ends a request that is under way */
