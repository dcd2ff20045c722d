/* One child process on the loop: text in, lines out, the end of its stderr kept. It leads a session of its own, so that
 * a Ctrl-C meant for the worker does not reach it and a kill reaches all that it started. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/command.h"
#include "common/error.h"

#define PROCESS_LINE_BYTES_MAX (1u << 20)
#define PROCESS_STDERR_BYTES_KEPT (16u << 10)

struct process_end {
        int exit_status;
        int signal; /* 0 = it exited */
        const char *stderr_tail;
};

struct process_events {
        void *data;
        void (*line)(void *data, const char *text, size_t len); /* without the newline; NULL text: a line was too long */
        void (*end)(void *data, const struct process_end *end); /* once, after the last line; the process is gone then */
};

struct process;

/* Starts words (argv and environment are borrowed for the call) in folder and writes input to its stdin, which is then
 * closed; takes input (also on failure). Negative errno when it cannot be started: no callback comes then. */
int process_start(uv_loop_t *loop, const struct words *argv, const struct words *environment, const char *folder, char *input,
                  const struct process_events *events, struct process **ret, struct error *err);

/* Sends a signal to it and all that it started. */
void process_signal(struct process *process, int signal);
