/* Which path and method lead where, and who may go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "proto/route.h"

static void paths_and_methods_find_their_route(void **state) {
        (void)state;
        static const struct {
                const char *method, *path;
                enum route route;
                const char *id;
        } cases[] = {
                {"POST", "/v1/sweeps", ROUTE_SWEEP_CREATE, ""},
                {"GET", "/v1/sweeps", ROUTE_SWEEP_LIST, ""},
                {"HEAD", "/v1/sweeps", ROUTE_SWEEP_LIST, ""},
                {"GET", "/v1/sweeps/s-1", ROUTE_SWEEP_GET, "s-1"},
                {"PATCH", "/v1/sweeps/s-1", ROUTE_SWEEP_PATCH, "s-1"},
                {"GET", "/v1/sweeps/s-1/best", ROUTE_SWEEP_BEST, "s-1"},
                {"POST", "/v1/trials/t~1/report", ROUTE_TRIAL_REPORT, "t~1"},
                {"POST", "/v1/workers/w.1/drain", ROUTE_WORKER_DRAIN, "w.1"},
                {"POST", "/v1/workers/w.1/undrain", ROUTE_WORKER_UNDRAIN, "w.1"},
                {"DELETE", "/v1/workers/w.1", ROUTE_WORKER_FORGET, "w.1"},
                {"GET", "/healthz", ROUTE_HEALTH, ""},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                enum route route = N_ROUTES;
                char id[41], allow[64];
                assert_int_equal(route_match(cases[i].method, cases[i].path, &route, id, allow), 0);
                assert_int_equal(route, cases[i].route);
                assert_string_equal(id, cases[i].id);
        }
}

static void unknown_paths_are_unknown(void **state) {
        (void)state;
        static const char *const paths[] = {"/assets", "/assets/", "", "/v1", "/v1/sweeps/", "/v1/sweeps//best", "/v1/sweeps/a b", "/v1/sweeps/a/b",
                                            "/v1/sweeps/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 41 */, "/v1/sweeps/../sweeps",
                                            "/healthz/"};
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                enum route route;
                char id[41], allow[64];
                assert_int_equal(route_match("GET", paths[i], &route, id, allow), ROUTE_UNKNOWN_PATH);
        }
}

static void wrong_methods_are_told_the_right_ones(void **state) {
        (void)state;
        enum route route;
        char id[41], allow[64];
        assert_int_equal(route_match("PUT", "/v1/sweeps", &route, id, allow), ROUTE_WRONG_METHOD);
        assert_string_equal(allow, "POST, GET, HEAD");
        assert_int_equal(route_match("PUT", "/v1/sweeps/s", &route, id, allow), ROUTE_WRONG_METHOD);
        assert_string_equal(allow, "GET, HEAD, PATCH, DELETE");
        assert_int_equal(route_match("GET", "/v1/claims", &route, id, allow), ROUTE_WRONG_METHOD);
        assert_string_equal(allow, "POST");
}

static void roles_are_ordered_as_the_contract_says(void **state) {
        (void)state;
        assert_true(role_allows(ROLE_ADMIN, ROLE_WORKER));
        assert_true(role_allows(ROLE_ADMIN, ROLE_VIEWER));
        assert_true(role_allows(ROLE_NONE, ROLE_NONE));
        assert_false(role_allows(ROLE_WORKER, ROLE_VIEWER));
        assert_false(role_allows(ROLE_WORKER, ROLE_ADMIN));
        assert_false(role_allows(ROLE_VIEWER, ROLE_WORKER));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths_and_methods_find_their_route),
                cmocka_unit_test(unknown_paths_are_unknown),
                cmocka_unit_test(wrong_methods_are_told_the_right_ones),
                cmocka_unit_test(roles_are_ordered_as_the_contract_says),
        };
        return cmocka_run_group_tests_name("proto/route", tests, NULL, NULL);
}
