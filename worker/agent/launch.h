/* The last step before a trainer runs, in the child: `sweep-worker exec-trainer PARENT PROGRAM ARG…`.
 *
 * The child asks the kernel to be killed when its worker dies, whatever the way: a trainer that outlived its worker would
 * train for a lost lease and write into a folder that the next worker's trainer uses. */
#pragma once

#define LAUNCH_WORD "exec-trainer"

/* Replaces the process; returns only on failure, with the exit status: 127 as shells have it. */
int launch_exec(int argc, char **argv);
