/* A whole coordinator (api, plan, opt, sweep, store) in one thread of a test, on a simulated disk, behind a simulated
 * network, with workers and people that are little state machines. One seed is one history: nothing here reads a clock,
 * a random device or an address.
 *
 *   main.c    options, many seeds, shrinking
 *   sim.c     the clock, the coordinator's life and deaths, the network
 *   fleet.c   workers
 *   people.c  those who create, change and look at sweeps
 *   oracle.c  what was acknowledged, and whether it is there
 *   watcher.c one who watches the events and must know what is there
 *   disk.c    the VFS · memory.c  allocations that fail · defect.c  deliberate defects, to see the oracle find them */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "common/rng.h"
#include "disk.h"

/* What may go wrong; a shrunk history has as few of them as still fail. */
#define HAZARDS(X) \
        X(HAZARD_KILL, "kill")         /* the process ends at any operation on the disk, or between two turns */ \
        X(HAZARD_POWER, "power")       /* the machine does: what was not synced may be lost or torn */ \
        X(HAZARD_RESTART, "restart")   /* a graceful end and a start */ \
        X(HAZARD_DROP, "drop")         /* requests and answers that never arrive */ \
        X(HAZARD_DELAY, "delay")       /* that arrive late, and so in another order */ \
        X(HAZARD_DUPLICATE, "double")  /* requests that arrive twice, the second one maybe much later */ \
        X(HAZARD_CUT, "cut")           /* clients that hang up while a claim waits */ \
        X(HAZARD_EIO, "eio")           /* reads and writes that fail */ \
        X(HAZARD_FULL, "full")         /* a full disk, half-way through a write */ \
        X(HAZARD_SYNC, "sync")         /* fsync fails, and what it was for is not written later */ \
        X(HAZARD_MEMORY, "memory")     /* the Nth allocation fails */ \
        X(HAZARD_WORKER, "worker")     /* workers that die, come back as another process, stand still, forget */ \
        X(HAZARD_PEOPLE, "people")     /* cancel, retry, pause, enqueue, import, drain, delete, change */ \
        X(HAZARD_CLOCK, "clock")       /* the wall clock jumps */

#define HAZARD_ENUM(id, name) id,
enum hazard { HAZARDS(HAZARD_ENUM) N_HAZARDS };
#undef HAZARD_ENUM
#define HAZARDS_ALL ((1u << N_HAZARDS) - 1)

/* Deliberate defects (defect.c). */
#define DEFECTS(X) \
        X(DEFECT_NONE, "none") \
        X(DEFECT_SYNC_LIES, "sync-lies")          /* the disk says that it wrote, and did not */ \
        X(DEFECT_EARLY_ANSWER, "early-answer")    /* answers leave before the commit */ \
        X(DEFECT_NO_FENCING, "no-fencing")        /* a report is taken on a lease that is over */ \
        X(DEFECT_FORGETS_CLAIMS, "forgets-claims") \
        X(DEFECT_FORGETS_KEYS, "forgets-keys") \
        X(DEFECT_FORGETS_SEQ, "forgets-seq") \
        X(DEFECT_LOSES_ENDS, "loses-ends")        /* history is not told when a trial ends */ \
        X(DEFECT_LOSES_EVENTS, "loses-events")    /* who watches is not told of some changes */ \
        X(DEFECT_FAILED_SYNC, "failed-sync")      /* a checkpoint whose sync fails goes on as if it had not */
#define DEFECT_ENUM(id, name) id,
enum defect { DEFECTS(DEFECT_ENUM) N_DEFECTS };
#undef DEFECT_ENUM

struct sim_options {
        uint64_t seed;
        uint64_t steps;    /* events of the disturbed part */
        unsigned hazards;  /* bit a hazard */
        unsigned workers;  /* 0 = the seed's */
        double crash_rate; /* factor; 1 = about one in 60 turns */
        enum defect defect;
        int verbose;
};

struct sim_result {
        bool failed;
        char complaint[1024];
        const char *kind; /* the complaint without its names and numbers */
        uint64_t steps, turns, crashes, power_cuts, restarts, acknowledged, trials, faults, starved, proposals;
        uint64_t copies, copies_crashed, copies_crossed, lost_syncs; /* of the log, by the checkpointer: crossed: with a turn in its middle, or in one's */
};

void sim_run(const struct sim_options *options, struct sim_result *ret);

/* --- inside ------------------------------------------------------------------------------------------------ */

struct sim;
struct oracle;

/* One wish of a client, sent until it is answered. */
struct op {
        uint64_t number;
        enum route route;
        char id[41];
        json_t *body; /* owned; NULL = none */
        char *key;    /* owned idempotency key; NULL = none */
        char digest[65];
        json_t *query; /* owned; NULL = none */
        double patience_s;
        unsigned tries;
        bool is_over; /* answered, or its client is no more */
        bool hangs_up_early;
        void (*answered)(struct sim *sim, struct op *op, int status, json_t *body);
        void *owner;
        uint64_t incarnation; /* of the owner when it was sent */
        size_t index;         /* the owner's: which task */
        struct op *next;      /* all of a history */
        /* the oracle's */
        int first_status;
        char *first_text;
};

#define SIM_SWEEPS 12
#define SIM_TRIALS 4096

struct sim {
        struct sim_options options;
        struct rng rng, net, fate, people; /* of the fleet, the network, crashes and faults, people: independent streams */
        uint64_t random;                   /* world.random_bytes */
        uint64_t now_ms, mono_offset_ms;
        int64_t wall_offset_ms;
        struct world world;
        struct disk disk;
        struct store *store;
        struct api *api;
        char folder[64], path[96];
        double lease_s;
        bool is_up, is_healing;
        bool copy_is_posted, copy_is_due, is_copying; /* the checkpointer's thread */
        uint64_t life;                                /* counts starts */
        unsigned told_in_turn;
        bool commit_failed; /* since told: what is on the disk need not be what was told */
        uint64_t fault_until_ms;

        struct event *events; /* a heap */
        size_t n_events, cap_events;
        uint64_t n_posted;
        struct api_call *arrived, **arrived_end;
        struct shipment *shipments; /* inside the coordinator */
        struct op *ops;
        uint64_t n_ops;
        struct plan_job *jobs[256];
        size_t n_jobs;

        struct worker *workers;
        size_t n_workers;
        struct person *persons;
        size_t n_persons;
        char *sweeps[2 * SIM_SWEEPS]; /* ids that people know: they stop creating at half */
        size_t n_sweeps;
        char **trials;
        size_t n_trials;

        struct oracle *oracle;
        struct watcher *watcher;
        struct sim_result *result;
};

bool sim_has(const struct sim *sim, enum hazard hazard);
/* The first complaint ends the history. */
void sim_complain(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_say(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* While the test reads the database itself nothing fails. */
void sim_quiet(struct sim *sim, bool quiet);

/* act(sim, owner, index) at now + delay. */
void sim_post(struct sim *sim, double delay_s, void (*act)(struct sim *sim, void *owner, uint64_t incarnation, size_t index), void *owner,
              uint64_t incarnation, size_t index);
/* Sends; takes body. The op lives until the end of the history. */
struct op *sim_send(struct sim *sim, enum route route, const char *id, json_t *body, bool keyed, double patience_s,
                    void (*answered)(struct sim *sim, struct op *op, int status, json_t *body), void *owner, uint64_t incarnation,
                    size_t index);

void fleet_init(struct sim *sim);
void fleet_heal(struct sim *sim);
void fleet_fini(struct sim *sim);
void people_init(struct sim *sim);
void people_heal(struct sim *sim);
void people_fini(struct sim *sim);
void people_learn_sweep(struct sim *sim, const char *id);
void people_learn_trial(struct sim *sim, const char *id);

/* What a report says of a point: different for every attempt. */
double point_value(const char *trial, int64_t step, int64_t attempt);

/* --- oracle ------------------------------------------------------------------------------------------------ */

struct oracle *oracle_new(void);
void oracle_free(struct oracle *oracle);
void oracle_sent(struct sim *sim, struct op *op);                                  /* before its first arrival */
void oracle_told(struct sim *sim, struct op *op, int status, const char *text);    /* the coordinator answers */
void oracle_check(struct sim *sim, bool thorough);                                 /* between turns */
void oracle_learn_paused(struct sim *sim);                                         /* tells people of them */
void oracle_blame_endless(struct sim *sim);                                        /* complains of those that do */
void oracle_check_end(struct sim *sim);                                            /* everything has come to rest */
bool oracle_at_rest(struct sim *sim);                                              /* no sweep can go on */
/* A digest of all rows of a database; 0 when there is none. */
uint64_t oracle_digest(struct sim *sim, const char *path);

/* --- the watcher of events ----------------------------------------------------------------------------------- */

struct watcher *watcher_new(void);
void watcher_free(struct watcher *watcher);
void watcher_lost(struct watcher *watcher); /* the stream has ended: it loads everything */
void watcher_told(void *sim, const char *name, const char *sweep, const char *text);
void watcher_compare(struct sim *sim);

/* --- memory and defects -------------------------------------------------------------------------------------- */

void memory_init(void);                                /* before anything allocates through SQLite or Jansson */
void memory_arm(uint64_t nth, bool and_all_after);     /* the nth allocation from now fails */
bool memory_disarm(void);                              /* did one fail? */
void memory_pause(bool pause);                         /* the test itself allocates */
void defect_set(enum defect defect);
