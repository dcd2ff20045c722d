/* A stand-in for api/ and plan/: echoes requests, parks claims, and counts what the core thread did with it. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct fake_api {
        atomic_size_t n_turns, n_calls, largest_turn, n_jobs_computed, n_jobs_done, n_jobs_freed, n_export_reads, n_exports_freed;
        atomic_bool unhealthy, slow_turns;
};
extern struct fake_api fake;

/*  GET  /v1/sweeps             200 with the request's query
 *  POST /v1/sweeps             201 with {"body","key","sha256","token"}
 *  GET  /v1/sweeps/{id}        404; with id "finished" 204 and Sweep-State
 *  GET  /v1/sweeps/{id}/export text/csv
 *  POST /v1/claims             parks until wait_s is over, then 204; without body a job is computed first, then 200
 *  else                        200 {"id"} */
