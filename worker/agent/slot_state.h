/* The life of one slot, as a table.
 *
 *           claimed              started             (ends, reports)
 *   idle ───────────▶ waiting ───────────▶ running ──────────────────▶ idle
 *    ▲                 │   ▲                │ │ │
 *    │ not wanted      │   │ bad checkpoint │ │ │ a stopping rule fired: SIGTERM
 *    ├─────────────────┘   └────────────────┘ │ └─────────▶ stopping ──▶ idle (stopped)
 *    │                                        │ the worker goes: SIGTERM
 *    │                                        ├───────────▶ releasing ─▶ idle (released)
 *    │                                        │ aborted, lease lost: SIGKILL
 *    └────────────────────────────────────────┴───────────▶ discarding ▶ idle (nothing is said)
 *
 *   waiting: the folder of the trial is still in use by a trainer that is being killed. stopping and releasing may
 *   still turn into discarding; stopping wins over releasing, since the trial has ended for the sweep. */
#pragma once
#include <stdbool.h>

/* id, name, may go to */
#define SLOT_STATES(X) \
        X(SLOT_IDLE, "idle", 1 << SLOT_WAITING) \
        X(SLOT_WAITING, "waiting", 1 << SLOT_RUNNING | 1 << SLOT_IDLE) \
        X(SLOT_RUNNING, "running", 1 << SLOT_IDLE | 1 << SLOT_WAITING | 1 << SLOT_STOPPING | 1 << SLOT_RELEASING | 1 << SLOT_DISCARDING) \
        X(SLOT_STOPPING, "stopping", 1 << SLOT_IDLE | 1 << SLOT_DISCARDING) \
        X(SLOT_RELEASING, "releasing", 1 << SLOT_IDLE | 1 << SLOT_DISCARDING) \
        X(SLOT_DISCARDING, "discarding", 1 << SLOT_IDLE)

#define SLOT_ENUM(id, name, next) id,
enum slot_state { SLOT_STATES(SLOT_ENUM) N_SLOT_STATES };
#undef SLOT_ENUM

const char *slot_state_name(enum slot_state state);
bool slot_may_move(enum slot_state from, enum slot_state to);
