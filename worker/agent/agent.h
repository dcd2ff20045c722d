/* The worker: registers, claims trials for its free slots, runs a trainer for each, reports. One libuv loop, one thread.
 *
 *   allotting ─▶ delivering ─▶ registering ─▶ serving ─▶ ending ─▶ over
 *       │             │            │  ▲        │ │        ▲
 *       │             │            │  └────────┘ │        │   the coordinator no longer knows this worker: register again
 *       └─────────────┴────────────┴─────────────┴────────┘   SIGTERM, --max-trials, --exit-when-idle
 *
 * Results that an earlier process left are delivered first: the registration of a new process ends the leases of the old
 * one. Trials go on while the coordinator is away. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct agent_command {
        char *name; /* what a sweep calls it */
        char *path; /* what is run */
};

struct agent_options {
        const char *coordinator, *token_file, *ca_file, *name; /* token_file, ca_file: NULL = none */
        const char *work_dir, *model_dir, *data_dir;
        const char *checkpoint_dir; /* shared with other workers; NULL: in work_dir */
        bool is_demo;             /* model and data are the installed demo's */
        bool serves_distilbert;
        const struct agent_command *commands;
        size_t n_commands;
        uint64_t command_memory_mb, command_file_mb; /* what such a program may have and write; 0 = no limit */
        unsigned slots, threads;  /* 0 = what trains most on this machine */
        uint64_t max_trials;      /* 0 = no end */
        double exit_when_idle_s;  /* negative = never */
        unsigned keep_models;      /* of each sweep */
        uint64_t models_max_bytes; /* of all of them; 0: no bound */
        uint64_t min_free_bytes;
        const char *trainer_program, *launcher; /* absolute paths; launcher: this program */
};

/* Runs until a signal or an option ends it. 0, or a negative errno with a text when it cannot work at all. */
int agent_run(const struct agent_options *options, struct error *err);
