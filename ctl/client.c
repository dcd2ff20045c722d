#include "client.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/credential.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/world.h"
#include "proto/limits.h"

#define ATTEMPTS_MAX 4
#define FIRST_PAUSE_S 0.25
#define PAUSE_MAX_S 10.0
#define CONNECT_TIMEOUT_S 10L
#define TIMEOUT_S 120L
#define TOKEN_BYTES_MAX 512

struct client {
        CURL *curl;
        char *url;           /* without a slash at its end */
        char *authorization; /* header line, NULL = none */
        char *ca_file;
};

CLEANUP_DEFINE(struct client *, cleanup_client, client_free)
CLEANUP_DEFINE(struct curl_slist *, cleanup_slist, curl_slist_free_all)

static int read_token(const char *path, char **ret_header, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(TOKEN_BYTES_MAX);
        struct stat status;
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        if (stat(path, &status) < 0 || (status.st_mode & credential_forbidden_bits(path)))
                return error_set(err, -EPERM, "%s: others can read the token; chmod 600 it", path);
        char *token = text.data ? text.data : "";
        size_t len = strcspn(token, "\r\n");
        if (len == 0 || strspn(token + len, "\r\n") != text.len - len)
                return error_set(err, -EINVAL, "%s: expected one line with the token alone", path);
        for (size_t i = 0; i < len; i++)
                if (token[i] <= ' ' || token[i] > '~')
                        return error_set(err, -EINVAL, "%s: expected one line with the token alone", path);
        if (asprintf(ret_header, "Authorization: Bearer %.*s", (int)len, token) < 0)
                r = -ENOMEM;
        explicit_bzero(text.data, text.len);
        return r;
}

int client_new(const char *url, const char *token_file, const char *ca_file, struct client **ret, struct error *err) {
        _cleanup_(cleanup_client) struct client *client = calloc(1, sizeof *client);
        if (!client)
                return error_set(err, -ENOMEM, "out of memory");
        if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
                return error_set(err, -EINVAL, "the server's URL begins with http:// or https://, not '%s'", url);
        size_t len = strlen(url);
        while (len > 0 && url[len - 1] == '/')
                len--;
        client->url = strndup(url, len);
        client->ca_file = ca_file ? strdup(ca_file) : NULL;
        client->curl = curl_easy_init();
        if (!client->url || (ca_file && !client->ca_file) || !client->curl)
                return error_set(err, -ENOMEM, "out of memory");
        int r = token_file ? read_token(token_file, &client->authorization, err) : 0;
        if (r < 0)
                return r;
        *ret = TAKE(client);
        return 0;
}

void client_free(struct client *client) {
        if (!client)
                return;
        if (client->authorization)
                explicit_bzero(client->authorization, strlen(client->authorization));
        free(client->authorization);
        free(client->url);
        free(client->ca_file);
        curl_easy_cleanup(client->curl);
        free(client);
}

void answer_fini(struct answer *answer) {
        buf_fini(&answer->text);
        json_decref(answer->body);
        *answer = (struct answer){0};
}

/* Where the body of an answer goes. */
struct sink {
        CURL *curl;
        struct buf *text;
        FILE *out; /* that of a 200, where it is not NULL */
        size_t n_out;
};

static size_t receive(char *data, size_t size, size_t n, void *user) {
        struct sink *sink = user;
        size_t len = size * n;
        long status = 0;
        curl_easy_getinfo(sink->curl, CURLINFO_RESPONSE_CODE, &status);
        if (!sink->out || status != 200)
                return buf_append(sink->text, data, len) < 0 ? 0 : len;
        sink->n_out += len;
        return fwrite(data, 1, len, sink->out);
}

static int add_header(struct curl_slist **headers, const char *line) {
        struct curl_slist *longer = curl_slist_append(*headers, line);
        if (!longer)
                return -ENOMEM;
        *headers = longer;
        return 0;
}

/* Not for loopback addresses: a proxy there is never meant. */
static bool is_loopback(const char *url) {
        const char *host = strstr(url, "://") + 3;
        return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 || strncasecmp(host, "localhost", 9) == 0;
}

static void prepare(struct client *client, const char *method, const char *url, const char *body, struct curl_slist *headers,
                    struct sink *sink, char *failure) {
        CURL *curl = client->curl;
        curl_easy_reset(curl); /* keeps the connection */
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "sweepctl/" SWEEPD_VERSION);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, failure);
        if (client->ca_file)
                curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
        if (is_loopback(url))
                curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
        if (body) {
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
                curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        } else if (strcmp(method, "POST") == 0) {
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
                curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
        }
}

#define STALLED_S 60L /* without a byte */

/* What may be long and slow, but not silent. */
static void expect_much(CURL *curl) {
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, 0L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALLED_S);
}

static void pause_s(double seconds) {
        struct timespec rest = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
        while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
                ;
}

/* Is it worth asking again, and after how long? */
static bool should_retry(CURL *curl, CURLcode code, long status, int attempt, double *ret_pause_s) {
        curl_off_t after = 0;
        if (attempt + 1 >= ATTEMPTS_MAX)
                return false;
        *ret_pause_s = FIRST_PAUSE_S * (1 << attempt);
        if (code != CURLE_OK)
                return code == CURLE_COULDNT_CONNECT || code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
                       code == CURLE_OPERATION_TIMEDOUT || code == CURLE_PARTIAL_FILE;
        if (status != 429 && status != 503)
                return false;
        if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
                *ret_pause_s = (double)after < PAUSE_MAX_S ? (double)after : PAUSE_MAX_S;
        return true;
}

static int make_headers(const struct client *client, bool has_body, const char *key, struct curl_slist **ret) {
        int r = add_header(ret, "Accept: application/json, */*;q=0.1");
        if (r == 0 && client->authorization)
                r = add_header(ret, client->authorization);
        if (r == 0)
                r = add_header(ret, has_body ? "Content-Type: application/json" : "Content-Type:");
        if (r == 0)
                r = add_header(ret, "Expect:");
        if (r == 0 && key) {
                char line[LIMIT_IDEMPOTENCY_KEY_BYTES + 32];
                snprintf(line, sizeof line, "Idempotency-Key: %s", key);
                r = add_header(ret, line);
        }
        return r;
}

/* What to do about it, where that is known. */
static const char *remedy_for(const struct client *client, CURLcode code) {
        switch (code) {
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_OPERATION_TIMEDOUT:
                return "\n  → is sweepd running there? --server URL or SWEEPD_URL says where";
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
                return "\n  → --ca FILE says whose certificates to trust; the URL needs the name that stands in the server's";
        case CURLE_GOT_NOTHING:
                return strncmp(client->url, "http://", 7) == 0 ? "\n  → perhaps it speaks https only" : "";
        case CURLE_SSL_CONNECT_ERROR:
                return "\n  → perhaps it speaks http only";
        default:
                return "";
        }
}

static int ask(struct client *client, const char *method, const char *path, const json_t *body, const char *key, FILE *out, struct answer *ret,
               struct error *err) {
        _cleanup_(cleanup_slist) struct curl_slist *headers = NULL;
        _cleanup_free_ char *text = body ? json_text(body) : NULL, *url = NULL;
        char failure[CURL_ERROR_SIZE] = "";
        *ret = (struct answer){.text = BUF_INIT(CLIENT_ANSWER_BYTES_MAX)};
        if ((body && !text) || asprintf(&url, "%s%s", client->url, path) < 0 || make_headers(client, body, key, &headers) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        struct sink sink = {.curl = client->curl, .text = &ret->text, .out = out};
        CURLcode code = CURLE_OK;
        long status = 0;
        double rest = 0;
        bool was_sent = false;
        for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
                buf_clear(&ret->text);
                prepare(client, method, url, text, headers, &sink, failure);
                if (out)
                        expect_much(client->curl);
                code = curl_easy_perform(client->curl);
                was_sent |= code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST;
                status = 0;
                curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
                if (sink.n_out > 0 || !should_retry(client->curl, code, status, attempt, &rest))
                        break;
                pause_s(rest);
        }
        if (code != CURLE_OK && sink.n_out > 0)
                return error_set(err, -EIO, "%s was cut off after %zu bytes: %s", client->url, sink.n_out, *failure ? failure : curl_easy_strerror(code));
        if (code != CURLE_OK)
                return error_set(err, was_sent ? -EIO : -ECONNREFUSED, "no answer from %s: %s%s", client->url, *failure ? failure : curl_easy_strerror(code), remedy_for(client, code));
        ret->status = (int)status;
        if (ret->text.len > 0 && json_read(ret->text.data, ret->text.len, &ret->body, NULL) < 0)
                ret->body = NULL;
        return 0;
}

int client_request(struct client *client, const char *method, const char *path, const json_t *body, bool idempotent, struct answer *ret,
                   struct error *err) {
        char key[40];
        world_make_id(world_real(), "ctl-", 26, key);
        return ask(client, method, path, body, idempotent ? key : NULL, NULL, ret, err);
}

int client_post(struct client *client, const char *path, const json_t *body, const char *key, struct answer *ret, struct error *err) {
        return ask(client, "POST", path, body, key, NULL, ret, err);
}

int client_copy(struct client *client, const char *path, FILE *out, struct answer *ret, struct error *err) {
        return ask(client, "GET", path, NULL, NULL, out, ret, err);
}

/* --- downloads ------------------------------------------------------------------------------------------ */

#define REFUSAL_BYTES_MAX (64u << 10)

struct download {
        CURL *curl;
        int fd;
        uint64_t received, bytes;
        struct digest *digest;
        struct buf refusal; /* what came with another status than 200 */
        int fault;          /* negative errno of the disk; -EFBIG: more came than was told */
};

static size_t take_bytes(char *data, size_t size, size_t n, void *user) {
        struct download *download = user;
        size_t len = size * n;
        long status = 0;
        curl_easy_getinfo(download->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200)
                return buf_append(&download->refusal, data, len) < 0 ? 0 : len;
        if (len > download->bytes - download->received)
                download->fault = -EFBIG;
        for (size_t at = 0; download->fault == 0 && at < len;) {
                ssize_t written = write(download->fd, data + at, len - at);
                if (written >= 0)
                        at += (size_t)written;
                else if (errno != EINTR)
                        download->fault = -errno;
        }
        if (download->fault < 0)
                return 0;
        digest_add(download->digest, data, len);
        download->received += len;
        return len;
}

/* One try. CURLE_OK with another status than 200 is a refusal. */
static CURLcode download_some(struct client *client, const char *path, struct curl_slist *headers, struct download *download, char *failure,
                              long *ret_status) {
        _cleanup_free_ char *url = NULL;
        if (asprintf(&url, "%s%s&offset=%llu", client->url, path, (unsigned long long)download->received) < 0)
                return CURLE_OUT_OF_MEMORY;
        buf_clear(&download->refusal);
        prepare(client, "GET", url, NULL, headers, NULL, failure);
        expect_much(client->curl);
        curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take_bytes);
        curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, download);
        CURLcode code = curl_easy_perform(client->curl);
        *ret_status = 0;
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, ret_status);
        return code;
}

static int judge_download(const struct client *client, const struct download *download, CURLcode code, long status, const char *failure,
                          struct error *err) {
        _cleanup_json_ json_t *problem = NULL;
        if (download->fault == -EFBIG)
                return error_set(err, -EFBIG, "more came than the server had told");
        if (download->fault < 0)
                return error_set(err, download->fault, "cannot write: %s", strerror(-download->fault));
        if (code == CURLE_OK && status != 200) {
                if (download->refusal.len > 0 && json_read(download->refusal.data, download->refusal.len, &problem, NULL) < 0)
                        problem = NULL;
                const char *detail = json_string_value(json_object_get(problem, "detail"));
                return error_set(err, -EIO, "the server answered %ld%s%s", status, detail ? ": " : "", detail ? detail : "");
        }
        if (download->received < download->bytes)
                return error_set(err, -EIO, "%s was cut off after %llu of %llu bytes: %s", client->url, (unsigned long long)download->received,
                                 (unsigned long long)download->bytes, *failure ? failure : curl_easy_strerror(code));
        return 0;
}

int client_download(struct client *client, const char *path, int fd, uint64_t bytes, char ret_sha256[static 65], struct error *err) {
        _cleanup_(cleanup_slist) struct curl_slist *headers = NULL;
        struct download download = {.curl = client->curl, .fd = fd, .bytes = bytes, .digest = digest_begin(), .refusal = BUF_INIT(REFUSAL_BYTES_MAX)};
        char failure[CURL_ERROR_SIZE] = "";
        if (!download.digest || make_headers(client, false, NULL, &headers) < 0) {
                digest_free(download.digest);
                return error_set(err, -ENOMEM, "out of memory");
        }
        CURLcode code;
        long status;
        double rest;
        for (int attempt = 0;; attempt++) {
                uint64_t before = download.received;
                code = download_some(client, path, headers, &download, failure, &status);
                bool is_cut = code != CURLE_OK || (status == 200 && download.received < bytes);
                if (download.fault < 0 || (!is_cut && status == 200))
                        break;
                if (download.received > before)
                        attempt = 0;
                if (!should_retry(client->curl, is_cut && code == CURLE_OK ? CURLE_PARTIAL_FILE : code, status, attempt, &rest))
                        break;
                pause_s(rest);
        }
        int r = judge_download(client, &download, code, status, failure, err);
        buf_fini(&download.refusal);
        digest_end(download.digest, ret_sha256);
        return r;
}
