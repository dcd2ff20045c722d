/* The signature: HMAC-SHA256 over "TIMESTAMP.BODY" with the secret, in hex, so that a receiver can refuse what is old as well
 * as what is forged. */
#include "notify/notify.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/log.h"

#define LOOK_MS 1000 /* between two looks at the outbox */
#define FIRST_WAIT_MS 2000
#define WAIT_MAX_MS 3600000
#define CONNECT_TIMEOUT_MS 5000L
#define TIMEOUT_MS 10000L
#define FAILURE_WAIT_MS 5000 /* after the outbox could not be read or written */

struct notifier {
        struct notify_outbox outbox;
        char *secret;
        CURL *curl;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool is_stopping; /* guarded by lock */
};

CLEANUP_DEFINE(struct curl_slist *, cleanup_slist, curl_slist_free_all)

static bool is_stopping(struct notifier *notifier) {
        pthread_mutex_lock(&notifier->lock);
        bool stopping = notifier->is_stopping;
        pthread_mutex_unlock(&notifier->lock);
        return stopping;
}

static void rest(struct notifier *notifier, unsigned ms) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += (long)(ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }
        pthread_mutex_lock(&notifier->lock);
        while (!notifier->is_stopping && pthread_cond_timedwait(&notifier->changed, &notifier->lock, &until) == 0)
                ;
        pthread_mutex_unlock(&notifier->lock);
}

/* The host alone: paths of webhooks often hold a secret. */
static void host_of(const char *url, char *ret, size_t size) {
        CURLU *parsed = curl_url();
        char *host = NULL;
        if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
                curl_url_get(parsed, CURLUPART_HOST, &host, 0);
        snprintf(ret, size, "%s", host ? host : "?");
        curl_free(host);
        curl_url_cleanup(parsed);
}

int notify_check_url(const char *url, struct error *err) {
        for (const char *c = url; *c; c++)
                if (*c <= ' ' || *c > '~')
                        return error_set(err, -EINVAL, "webhook: expected an http or https URL of printable ASCII: write others as %%XX, names as xn--…");
        CURLU *parsed = curl_url();
        char *scheme = NULL, *host = NULL, *user = NULL;
        int r = 0;
        if (!parsed || curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK || curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
            curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
                r = error_set(err, -EINVAL, "webhook: expected an http or https URL");
        else if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK)
                r = error_set(err, -EINVAL, "webhook: a URL with a name or password in it would be told in logs; use --webhook-secret-file");
        curl_free(scheme);
        curl_free(host);
        curl_free(user);
        curl_url_cleanup(parsed);
        return r;
}

/* --- one message -------------------------------------------------------------------------------------- */

static size_t drop(char *data, size_t size, size_t n, void *user) {
        (void)data, (void)user;
        return size * n;
}

static int on_progress(void *data, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
        (void)total, (void)now, (void)up_total, (void)up_now;
        return is_stopping(data);
}

__attribute__((format(printf, 2, 3))) static int add_header(struct curl_slist **headers, const char *format, ...) {
        char line[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(line, sizeof line, format, ap);
        va_end(ap);
        struct curl_slist *longer = curl_slist_append(*headers, line);
        if (!longer)
                return -ENOMEM;
        *headers = longer;
        return 0;
}

static int make_headers(const struct notifier *notifier, const struct notify_message *message, struct curl_slist **ret) {
        long long now = (long long)time(NULL);
        int r = add_header(ret, "Content-Type: application/json");
        if (r == 0)
                r = add_header(ret, "Expect:");
        if (r == 0)
                r = add_header(ret, "X-Sweepd-Event: %s", message->event);
        if (r == 0)
                r = add_header(ret, "X-Sweepd-Delivery: %lld", (long long)message->id);
        if (r == 0)
                r = add_header(ret, "X-Sweepd-Timestamp: %lld", now);
        if (r == 0 && notifier->secret) {
                char signature[DIGEST_HEX_SIZE];
                _cleanup_free_ char *text = NULL;
                if (asprintf(&text, "%lld.%s", now, message->body) < 0)
                        return -ENOMEM;
                digest_hmac(notifier->secret, text, strlen(text), signature);
                r = add_header(ret, "X-Sweepd-Signature: sha256=%s", signature);
        }
        return r;
}

/* The HTTP status, 0 with a text in failure when there was no answer. */
static long send_message(struct notifier *notifier, const struct notify_message *message, char failure[static CURL_ERROR_SIZE]) {
        _cleanup_(cleanup_slist) struct curl_slist *headers = NULL;
        CURL *curl = notifier->curl;
        long status = 0;
        failure[0] = 0;
        if (make_headers(notifier, message, &headers) < 0) {
                snprintf(failure, CURL_ERROR_SIZE, "out of memory");
                return 0;
        }
        curl_easy_reset(curl);
        curl_easy_setopt(curl, CURLOPT_URL, message->url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(message->body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, message->body);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "sweepd/" SWEEPD_VERSION);
        curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* else its end would wait for a name server that does not answer */
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, 1L << 20);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, failure);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, notifier);
        CURLcode code = curl_easy_perform(curl);
        if (code == CURLE_OK)
                curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        else if (!failure[0])
                snprintf(failure, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
        return status;
}

static uint64_t wait_after(unsigned attempts) {
        uint64_t wait = FIRST_WAIT_MS;
        for (unsigned i = 1; i < attempts && wait < WAIT_MAX_MS; i++)
                wait *= 2;
        return wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
}

/* While the outbox cannot be written the message is not sent again: that would be so every few seconds while a disk is full. */
static void tell(struct notifier *notifier, const struct notify_message *message, const struct notify_result *result) {
        int r;
        while ((r = notifier->outbox.tell(notifier->outbox.data, message, result)) < 0 && !is_stopping(notifier)) {
                log_warning("cannot write what webhooks were told", log_i("code", r));
                rest(notifier, FAILURE_WAIT_MS);
        }
}

static void deliver(struct notifier *notifier, const struct notify_message *message) {
        char failure[CURL_ERROR_SIZE], host[256], text[CURL_ERROR_SIZE + 320];
        long status = send_message(notifier, message, failure);
        if (status == 0 && is_stopping(notifier))
                return; /* it was cut off: the next process sends it */
        host_of(message->url, host, sizeof host);
        struct notify_result result = {.attempts = message->attempts + 1, .is_delivered = status >= 200 && status < 300, .text = text};
        result.is_over = result.is_delivered || result.attempts >= NOTIFY_ATTEMPTS_MAX;
        result.wait_ms = result.is_over ? 0 : wait_after(result.attempts);
        if (status > 0)
                snprintf(text, sizeof text, "%s answered %ld%s", host, status, status >= 300 && status < 400 ? ", and redirects are not followed" : "");
        else
                snprintf(text, sizeof text, "%s: %s", host, failure);
        for (char *c = text; *c; c++) /* what libcurl says may quote the other side */
                if (*c < ' ' || *c > '~')
                        *c = '?';
        log_write(result.is_delivered ? LOG_INFO : LOG_WARNING, result.is_delivered ? "webhook told" : result.is_over ? "webhook given up" : "webhook not told",
                  (struct log_field[]){log_s("event", message->event), log_i("delivery", message->id), log_i("attempt", result.attempts), log_s("result", text),
                                       log_f("again_in_s", (double)result.wait_ms / 1000), {0}});
        tell(notifier, message, &result);
}

static void *run(void *data) {
        struct notifier *notifier = data;
        while (!is_stopping(notifier)) {
                struct notify_message message = {0};
                int r = notifier->outbox.next(notifier->outbox.data, &message);
                if (r == 0)
                        deliver(notifier, &message);
                else if (r < 0)
                        log_warning("cannot read what webhooks are to be told", log_i("code", r));
                free(message.event);
                free(message.url);
                free(message.body);
                if (r != 0)
                        rest(notifier, r < 0 ? FAILURE_WAIT_MS : LOOK_MS);
        }
        return NULL;
}

/* --- life --------------------------------------------------------------------------------------------- */

int notify_new(const struct notify_outbox *outbox, const char *secret, struct notifier **ret, struct error *err) {
        struct notifier *notifier = calloc(1, sizeof *notifier);
        pthread_condattr_t attributes;
        if (!notifier || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
                free(notifier);
                return error_set(err, -ENOMEM, "out of memory");
        }
        notifier->outbox = *outbox;
        notifier->secret = secret ? strdup(secret) : NULL;
        notifier->curl = curl_easy_init();
        pthread_mutex_init(&notifier->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&notifier->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        bool is_made = notifier->curl && (!secret || notifier->secret);
        if (!is_made || pthread_create(&notifier->thread, NULL, run, notifier) != 0) {
                curl_easy_cleanup(notifier->curl);
                free(notifier->secret);
                free(notifier);
                return error_set(err, -ENOMEM, "cannot start the thread of webhooks");
        }
        *ret = notifier;
        return 0;
}

void notify_free(struct notifier *notifier) {
        if (!notifier)
                return;
        pthread_mutex_lock(&notifier->lock);
        notifier->is_stopping = true;
        pthread_cond_signal(&notifier->changed);
        pthread_mutex_unlock(&notifier->lock);
        pthread_join(notifier->thread, NULL);
        curl_easy_cleanup(notifier->curl);
        if (notifier->secret)
                explicit_bzero(notifier->secret, strlen(notifier->secret));
        free(notifier->secret);
        pthread_cond_destroy(&notifier->changed);
        pthread_mutex_destroy(&notifier->lock);
        free(notifier);
}
