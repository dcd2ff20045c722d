/* Bodies of requests and queries, by every decoder. Faults must be encodable as an answer. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz.h"
#include "proto/message.h"
#include "proto/problem.h"
#include "proto/route.h"

static void judge(int r, struct faults *faults) {
        fuzz_assert((r == 0) == (faults->n_total == 0));
        _cleanup_json_ json_t *problem = problem_encode(422, "the body has faults", faults);
        _cleanup_free_ char *text = problem ? json_text(problem) : NULL;
        fuzz_assert(text);
        faults_fini(faults);
        *faults = (struct faults){0};
}

static void decode_all(json_t *body) {
        struct faults faults = {0};
        struct worker_registration registration = {0};
        judge(worker_registration_decode(body, &faults, &registration), &faults);
        worker_registration_fini(&registration);
        struct claim_request claim;
        judge(claim_request_decode(body, &faults, &claim), &faults);
        struct report report = {0};
        judge(report_decode(body, &faults, &report), &faults);
        report_fini(&report);
        struct model_offer offer;
        judge(model_offer_decode(body, &faults, &offer), &faults);
        struct enqueue_request enqueue = {0};
        judge(enqueue_request_decode(body, &faults, &enqueue), &faults);
        enqueue_request_fini(&enqueue);
        struct sweep_patch patch;
        judge(sweep_patch_decode(body, &faults, &patch), &faults);
        judge(empty_decode(body, &faults), &faults);
        struct list_query query;
        if (json_is_object(body))
                for (int kind = LIST_SWEEPS; kind <= LIST_NOTHING; kind++)
                        judge(list_query_decode(body, (enum list_kind)kind, &faults, &query), &faults);
}

static void match_route(const uint8_t *data, size_t size) {
        static const char *const methods[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", ""};
        _cleanup_free_ char *path = fuzz_text(data, size);
        enum route route;
        char id[41], allow[64];
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                allow[0] = 0;
                if (route_match(methods[i], path, &route, id, allow) == 0)
                        fuzz_assert(route < N_ROUTES && strlen(id) <= 40);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *body = NULL;
        match_route(data, size);
        if (json_read((const char *)data, size, &body, NULL) < 0)
                return 0;
        decode_all(body);
        return 0;
}
