/* libcurl's multi interface driven by an event loop that lives elsewhere: curl says through SOCKETFUNCTION and
 * TIMERFUNCTION what it waits for, the host waits, and multi_socket_action moves on. Answers are handed out only from
 * net_socket_ready and net_timer_fired: a request that fails at once inside net_send is found there too, because curl
 * arms a zero timer for every new transfer.
 *
 * A callback may send and cancel other requests, but not free the net. */
#include "net/net.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json.h"

struct net_request {
        struct net *net;
        struct net_request *previous, *next; /* in net->requests */
        CURL *easy;
        char *body; /* owned; curl sends it without copying */
        size_t body_len;
        struct curl_slist *headers; /* instead of the net's; NULL = those */
        struct buf answer;
        net_callback *callback;
        void *data;
        char failure[CURL_ERROR_SIZE];
};

struct net {
        const struct net_host *host;
        CURLM *multi;
        struct curl_slist *headers;
        struct net_request *requests;
        size_t n_requests;
        char *base_url, *ca_file, *user_agent;
        bool direct; /* a loopback coordinator: no proxy */
};

static int on_watch(CURL *easy, curl_socket_t socket, int what, void *data, void *socket_data) {
        (void)easy, (void)socket_data;
        struct net *net = data;
        unsigned events = what == CURL_POLL_REMOVE ? 0 : (what & CURL_POLL_IN ? NET_READ : 0) | (what & CURL_POLL_OUT ? NET_WRITE : 0);
        net->host->watch(net->host->data, socket, events);
        return 0;
}

static int on_timer(CURLM *multi, long after_ms, void *data) {
        (void)multi;
        struct net *net = data;
        net->host->arm(net->host->data, after_ms);
        return 0;
}

/* Trainers are children of this process and must not inherit its connections. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address) {
        (void)data, (void)purpose;
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *data) {
        struct net_request *request = data;
        return buf_append(&request->answer, bytes, size * n) < 0 ? 0 : size * n; /* less than given: curl ends the transfer */
}

static bool is_loopback(const char *host) {
        return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 || strncmp(host, "127.", 4) == 0;
}

static int check_url(struct net *net, const char *url, struct error *err) {
        CURLU *parsed = curl_url();
        char *scheme = NULL, *host = NULL;
        bool good = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                    curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                    (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
        if (good)
                net->direct = is_loopback(host);
        curl_free(scheme);
        curl_free(host);
        curl_url_cleanup(parsed);
        return good ? 0 : error_set(err, -EINVAL, "not an http or https URL: '%s'", url);
}

static int add_header(struct net *net, const char *name, const char *value) {
        _cleanup_buf_ struct buf line = BUF_INIT(4096);
        if (buf_printf(&line, "%s: %s", name, value) < 0)
                return -ENOMEM;
        struct curl_slist *headers = curl_slist_append(net->headers, line.data);
        explicit_bzero(line.data, line.len);
        if (!headers)
                return -ENOMEM;
        net->headers = headers;
        return 0;
}

static int add_headers(struct net *net, const char *instance, const char *token) {
        int r = add_header(net, "Content-Type", "application/json");
        if (r == 0)
                r = add_header(net, "Accept", "application/json");
        if (r == 0 && instance)
                r = add_header(net, "Worker-Instance", instance);
        if (r == 0 && token) {
                char bearer[1024];
                snprintf(bearer, sizeof bearer, "Bearer %s", token);
                r = add_header(net, "Authorization", bearer);
                explicit_bzero(bearer, sizeof bearer);
        }
        struct curl_slist *headers = r == 0 ? curl_slist_append(net->headers, "Expect:") : NULL; /* no 100-continue round trip */
        if (!headers)
                return -ENOMEM;
        net->headers = headers;
        return 0;
}

int net_new(const struct net_options *options, const struct net_host *host, struct net **ret, struct error *err) {
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return error_set(err, -ENOMEM, "libcurl does not start");
        struct net *net = calloc(1, sizeof *net);
        if (!net)
                return error_set(err, -ENOMEM, "out of memory");
        net->host = host;
        int r = check_url(net, options->base_url, err);
        if (r < 0)
                goto fail;
        net->base_url = strdup(options->base_url);
        net->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
        net->user_agent = strdup(options->user_agent);
        net->multi = curl_multi_init();
        if (!net->base_url || (options->ca_file && !net->ca_file) || !net->user_agent || !net->multi || add_headers(net, options->instance, options->token) < 0) {
                r = error_set(err, -ENOMEM, "out of memory");
                goto fail;
        }
        for (size_t n = strlen(net->base_url); n > 0 && net->base_url[n - 1] == '/'; n--)
                net->base_url[n - 1] = 0;
        curl_multi_setopt(net->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
        curl_multi_setopt(net->multi, CURLMOPT_SOCKETDATA, net);
        curl_multi_setopt(net->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(net->multi, CURLMOPT_TIMERDATA, net);
        *ret = net;
        return 0;
fail:
        net_free(net);
        return r;
}

static void free_headers(struct curl_slist *headers) {
        for (struct curl_slist *h = headers; h; h = h->next)
                explicit_bzero(h->data, strlen(h->data));
        curl_slist_free_all(headers);
}

void net_free(struct net *net) {
        if (!net)
                return;
        while (net->requests)
                net_cancel(net->requests);
        curl_multi_cleanup(net->multi);
        free_headers(net->headers);
        free(net->base_url);
        free(net->ca_file);
        free(net->user_agent);
        free(net);
}

static void configure(struct net_request *request, const char *method, const char *url, double timeout_s) {
        struct net *net = request->net;
        CURL *easy = request->easy;
        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers ? request->headers : net->headers);
        curl_easy_setopt(easy, CURLOPT_USERAGENT, net->user_agent);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* else its end would wait for a name server that does not answer */
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(timeout_s * 1000));
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->failure);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
        if (net->ca_file)
                curl_easy_setopt(easy, CURLOPT_CAINFO, net->ca_file);
        if (net->direct)
                curl_easy_setopt(easy, CURLOPT_PROXY, "");
        if (request->body) {
                curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
                curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
        }
}

static void request_free(struct net_request *request) {
        curl_easy_cleanup(request->easy);
        free_headers(request->headers);
        free(request->body);
        buf_fini(&request->answer);
        free(request);
}

static void unlink_request(struct net_request *request) {
        struct net *net = request->net;
        if (request->previous)
                request->previous->next = request->next;
        else
                net->requests = request->next;
        if (request->next)
                request->next->previous = request->previous;
        net->n_requests--;
        curl_multi_remove_handle(net->multi, request->easy);
}

/* Takes the body and the headers, which are for this request alone (NULL = the usual). */
static int start(struct net *net, const char *method, const char *path, char *body, size_t body_len, struct curl_slist *headers, double timeout_s,
                 net_callback *callback, void *data, struct net_request **ret) {
        _cleanup_buf_ struct buf url = BUF_INIT(8192);
        struct net_request *request = net->n_requests < NET_REQUESTS_MAX ? calloc(1, sizeof *request) : NULL;
        if (!request) {
                free(body);
                free_headers(headers);
                return net->n_requests < NET_REQUESTS_MAX ? -ENOMEM : -EAGAIN;
        }
        *request = (struct net_request){
                .net = net, .callback = callback, .data = data, .answer = BUF_INIT(NET_ANSWER_BYTES_MAX), .body = body, .body_len = body_len, .headers = headers};
        request->easy = curl_easy_init();
        if (!request->easy || buf_printf(&url, "%s%s", net->base_url, path) < 0) {
                request_free(request);
                return -ENOMEM;
        }
        configure(request, method, url.data, timeout_s);
        if (curl_multi_add_handle(net->multi, request->easy) != CURLM_OK) {
                request_free(request);
                return -ENOMEM;
        }
        request->next = net->requests;
        if (request->next)
                request->next->previous = request;
        net->requests = request;
        net->n_requests++;
        *ret = request;
        return 0;
}

int net_send(struct net *net, const char *method, const char *path, const json_t *body, double timeout_s, net_callback *callback,
             void *data, struct net_request **ret) {
        char *text = body ? json_text(body) : NULL;
        return body && !text ? -ENOMEM : start(net, method, path, text, text ? strlen(text) : 0, NULL, timeout_s, callback, data, ret);
}

/* The net's headers, but for the type. */
static struct curl_slist *bytes_headers(const struct net *net, const char *lease) {
        _cleanup_buf_ struct buf line = BUF_INIT(4096);
        struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
        bool failed = !headers || buf_printf(&line, "Lease: %s", lease) < 0;
        for (const struct curl_slist *h = net->headers; h && !failed; h = h->next)
                failed = strncasecmp(h->data, "Content-Type:", 13) != 0 && !curl_slist_append(headers, h->data);
        if (failed || !curl_slist_append(headers, line.data)) {
                free_headers(headers);
                return NULL;
        }
        return headers;
}

int net_send_bytes(struct net *net, const char *method, const char *path, char *bytes, size_t len, const char *lease, double timeout_s,
                   net_callback *callback, void *data, struct net_request **ret) {
        struct curl_slist *headers = bytes_headers(net, lease);
        if (!headers) {
                free(bytes);
                return -ENOMEM;
        }
        return start(net, method, path, bytes, len, headers, timeout_s, callback, data, ret);
}

void net_cancel(struct net_request *request) {
        if (!request)
                return;
        unlink_request(request);
        request_free(request);
}

const char *net_why(const struct net_answer *answer) {
        const char *detail = json_string_value(json_object_get(answer->body, "detail"));
        return detail ? detail : answer->failure ? answer->failure : "";
}

static int64_t date_of(CURL *easy) {
        struct curl_header *header;
        if (curl_easy_header(easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
                return 0;
        time_t date = curl_getdate(header->value, NULL);
        return date > 0 ? date : 0;
}

static void answer_request(struct net_request *request, CURLcode result) {
        struct net_answer answer = {0};
        long status = 0;
        curl_off_t retry_after = 0;
        _cleanup_json_ json_t *body = NULL;
        if (result == CURLE_OK) {
                curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
                curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after);
                answer.date_s = date_of(request->easy);
                if (request->answer.len > 0 && json_read(request->answer.data, request->answer.len, &body, NULL) < 0)
                        body = NULL;
        } else
                answer.failure = request->failure[0] ? request->failure : curl_easy_strerror(result);
        answer.status = (int)status;
        answer.body = body;
        answer.retry_after_s = (double)retry_after;
        struct curl_header *header = NULL;
        if (result == CURLE_OK && curl_easy_header(request->easy, "Worker-State", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
                answer.worker_state = header->value;
        answer.name_shared = result == CURLE_OK && curl_easy_header(request->easy, "Name-Shared", 0, CURLH_HEADER, -1, &header) == CURLHE_OK;
        unlink_request(request);
        request->callback(request->data, &answer);
        request_free(request);
}

static void answer_finished(struct net *net) {
        CURLMsg *message;
        int n_left;
        while ((message = curl_multi_info_read(net->multi, &n_left))) {
                if (message->msg != CURLMSG_DONE)
                        continue;
                struct net_request *request;
                CURLcode result = message->data.result;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
                answer_request(request, result);
        }
}

void net_socket_ready(struct net *net, int socket, unsigned events) {
        int running, mask = (events & NET_READ ? CURL_CSELECT_IN : 0) | (events & NET_WRITE ? CURL_CSELECT_OUT : 0);
        curl_multi_socket_action(net->multi, socket, mask, &running);
        answer_finished(net);
}

void net_timer_fired(struct net *net) {
        int running;
        curl_multi_socket_action(net->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        answer_finished(net);
}
