/* Every route of the contract in one table: method, path, who may call it. `{id}` stands for one path segment. */
#pragma once
#include <stdbool.h>

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_WORKER, ROLE_ADMIN }; /* admin ⊃ worker, viewer; worker ⊅ viewer */

/* id, method, path, role, has a request body */
#define ROUTES(X) \
        X(ROUTE_SWEEP_CREATE, "POST", "/v1/sweeps", ROLE_ADMIN) \
        X(ROUTE_SWEEP_LIST, "GET", "/v1/sweeps", ROLE_VIEWER) \
        X(ROUTE_SWEEP_GET, "GET", "/v1/sweeps/{id}", ROLE_VIEWER) \
        X(ROUTE_SWEEP_PATCH, "PATCH", "/v1/sweeps/{id}", ROLE_ADMIN) \
        X(ROUTE_SWEEP_DELETE, "DELETE", "/v1/sweeps/{id}", ROLE_ADMIN) \
        X(ROUTE_TRIAL_CREATE, "POST", "/v1/sweeps/{id}/trials", ROLE_ADMIN) \
        X(ROUTE_TRIAL_LIST, "GET", "/v1/sweeps/{id}/trials", ROLE_VIEWER) \
        X(ROUTE_SWEEP_BEST, "GET", "/v1/sweeps/{id}/best", ROLE_VIEWER) \
        X(ROUTE_SWEEP_IMPORTANCE, "GET", "/v1/sweeps/{id}/importance", ROLE_VIEWER) \
        X(ROUTE_SWEEP_SLICE, "GET", "/v1/sweeps/{id}/slice", ROLE_VIEWER) \
        X(ROUTE_SWEEP_HISTORY, "GET", "/v1/sweeps/{id}/history", ROLE_VIEWER) \
        X(ROUTE_SWEEP_EXPORT, "GET", "/v1/sweeps/{id}/export", ROLE_VIEWER) \
        X(ROUTE_SWEEP_REPORT, "GET", "/v1/sweeps/{id}/report", ROLE_VIEWER) \
        X(ROUTE_SWEEP_MODELS, "GET", "/v1/sweeps/{id}/models", ROLE_VIEWER) \
        X(ROUTE_TRIAL_GET, "GET", "/v1/trials/{id}", ROLE_VIEWER) \
        X(ROUTE_TRIAL_METRICS, "GET", "/v1/trials/{id}/metrics", ROLE_VIEWER) \
        X(ROUTE_TRIAL_CANCEL, "POST", "/v1/trials/{id}/cancel", ROLE_ADMIN) \
        X(ROUTE_TRIAL_RETRY, "POST", "/v1/trials/{id}/retry", ROLE_ADMIN) \
        X(ROUTE_TRIAL_REPORT, "POST", "/v1/trials/{id}/report", ROLE_WORKER) \
        X(ROUTE_MODEL_GET, "GET", "/v1/trials/{id}/model", ROLE_VIEWER) \
        X(ROUTE_MODEL_OFFER, "POST", "/v1/trials/{id}/model", ROLE_WORKER) \
        X(ROUTE_MODEL_FILE, "GET", "/v1/trials/{id}/model/file", ROLE_VIEWER) \
        X(ROUTE_MODEL_PIECE, "PUT", "/v1/trials/{id}/model/file", ROLE_WORKER) \
        X(ROUTE_WORKER_REGISTER, "POST", "/v1/workers", ROLE_WORKER) \
        X(ROUTE_WORKER_LIST, "GET", "/v1/workers", ROLE_VIEWER) \
        X(ROUTE_WORKER_DRAIN, "POST", "/v1/workers/{id}/drain", ROLE_ADMIN) \
        X(ROUTE_WORKER_UNDRAIN, "POST", "/v1/workers/{id}/undrain", ROLE_ADMIN) \
        X(ROUTE_WORKER_FORGET, "DELETE", "/v1/workers/{id}", ROLE_ADMIN) \
        X(ROUTE_CLAIM, "POST", "/v1/claims", ROLE_WORKER) \
        X(ROUTE_EVENTS, "GET", "/v1/events", ROLE_VIEWER) \
        X(ROUTE_SWEEP_SNAPSHOT, "GET", "/v1/sweeps/{id}/snapshot", ROLE_ADMIN) \
        X(ROUTE_TRIAL_EXPIRE, "POST", "/v1/trials/{id}/expire", ROLE_ADMIN) \
        X(ROUTE_DEBUG_STATE, "GET", "/v1/debug/state", ROLE_ADMIN) \
        X(ROUTE_METRICS, "GET", "/metrics", ROLE_VIEWER) \
        X(ROUTE_HEALTH, "GET", "/healthz", ROLE_NONE) \
        X(ROUTE_READY, "GET", "/readyz", ROLE_NONE) \
        X(ROUTE_OPENAPI, "GET", "/openapi.json", ROLE_NONE) \
        X(ROUTE_PAGE, "GET", "/", ROLE_NONE) \
        X(ROUTE_ASSET, "GET", "/assets/{id}", ROLE_NONE)

#define ROUTE_ENUM(id, method, path, role) id,
enum route { ROUTES(ROUTE_ENUM) N_ROUTES };
#undef ROUTE_ENUM

struct route_info {
        const char *method, *path;
        enum role role;
};

const struct route_info *route_info(enum route route);

/* Finds the route of a request. 0 with *ret_route and ret_id (41 bytes; empty without {id}) ·
 * ROUTE_UNKNOWN_PATH (404) · ROUTE_WRONG_METHOD (405) with the Allow list in ret_allow (64 bytes). */
#define ROUTE_UNKNOWN_PATH 1
#define ROUTE_WRONG_METHOD 2
int route_match(const char *method, const char *path, enum route *ret_route, char ret_id[static 41], char ret_allow[static 64]);

bool role_allows(enum role have, enum role need);
