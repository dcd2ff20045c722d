/* Inside of the HTTP server, shared by its files. An exchange is one request and its answer. */
#pragma once
#include <microhttpd.h>
#include <pthread.h>

#include "api/api.h"
#include "common/buf.h"
#include "http/core.h"
#include "http/failures.h"
#include "http/http.h"
#include "http/measure.h"
#include "http/tokens.h"
#include "proto/problem.h"
#include "web/web.h"

/* One connection, for as long as it is open. */
struct connection {
        int fd;
        uint64_t owes_since_ms; /* mono time since which we wait for a whole request; 0 = one is in hand. Guarded by http's lock */
        struct connection *previous, *next;
};

struct http {
        struct http_config config;
        struct MHD_Daemon *daemon; /* set under lock, read without it by the thread that opened the server */
        int quiesced_fd; /* the listening socket after http_drain, else -1 */
        char url[128];
        size_t body_bytes; /* held by all exchanges; the server thread's own */
        pthread_mutex_t lock;
        pthread_cond_t idle;
        struct failures failures; /* wrong tokens; the server thread's own */
        struct measures measures; /* the server thread's own */
        double begun_s;           /* since 1970 */
        /* guarded by lock */
        size_t n_active; /* exchanges begun and not ended */
        bool draining;
        struct connection *connections;
};

struct answer {
        int status; /* 0 = none yet */
        char *text; /* owned, NULL = no body */
        size_t text_len;
        const char *static_text; /* instead of text; lives for ever */
        const char *content_type; /* static */
        unsigned retry_after_s;
        char sweep_state[16], worker_state[16];
        bool name_shared;
        char allow[64];
        bool challenge; /* WWW-Authenticate */
        bool is_last;   /* the connection ends with it, and what else comes in is not read */
        const struct web_asset *asset; /* a file of the page */
        bool gzip;                     /* … compressed */
        bool has_file;                 /* the body is a part of a file */
        int file;                      /* owned */
        uint64_t file_offset, file_bytes;
};

struct exchange {
        struct http *http;
        struct MHD_Connection *connection;
        const char *method, *path; /* libmicrohttpd's, as long as the request */
        enum route route;
        char id[41];
        struct token_holder holder; /* the caller; empty without a token */
        bool has_body_method; /* POST, PATCH, PUT: others' bodies are read and dropped */
        bool wrong_type;    /* a body, if one comes, is not JSON (a piece of a model: not bytes) */
        uint64_t begun_ms;
        double begun_s; /* the same, finer */
        size_t received;
        struct buf body;
        struct answer answer;
        struct api_call call;
        int fd;         /* of the connection, while suspended */
        bool suspended; /* the call was pushed; when the handler runs again it has been answered */
};

/* --- exchange.c: from request to answer ---------------------------------------------------------------- */

/* libmicrohttpd's handler and its end-of-request notice. cls is the http. */
enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                const char *upload_data, size_t *upload_data_size, void **con_cls);
void exchange_completed(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode how);

/* --- admit.c: may this request come in? ---------------------------------------------------------------- */

/* Route, caller and headers. Fills route, id, token; leaves a problem in the answer when the request is refused. */
void exchange_admit(struct exchange *exchange);

/* --- page.c -------------------------------------------------------------------------------------------- */

/* A file of the web page as the answer, and the headers that go with it. */
void page_answer(struct exchange *exchange);
void page_add_headers(const struct answer *answer, struct MHD_Response *response);

/* --- modelfile.c --------------------------------------------------------------------------------------- */

/* Requests for bytes of kept models: false when it is none, else the answer is there. */
bool model_answer(struct exchange *exchange);

/* --- answer.c ------------------------------------------------------------------------------------------ */

/* A problem object as the answer. */
void answer_problem(struct answer *answer, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void answer_faults(struct answer *answer, const char *detail, const struct faults *faults);

void answer_json(struct answer *answer, int status, const json_t *body);

/* What the api said. Encodes its body. */
void answer_from_response(struct answer *answer, struct api_response *response);

/* Hands the answer to libmicrohttpd. */
enum MHD_Result answer_send(struct answer *answer, struct MHD_Connection *connection, bool closing);
/* The same with a stream as the body; takes response, NULL = no memory. */
enum MHD_Result answer_stream(const struct answer *answer, struct MHD_Connection *connection, struct MHD_Response *response);
void answer_fini(struct answer *answer);
