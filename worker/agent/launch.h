/* The last step before a trainer runs, in the child: `sweep-worker exec-trainer PARENT [limits=MEMORY_MB,FILE_MB] PROGRAM ARG…`.
 *
 * The child asks the kernel to be killed when its worker dies, whatever the way: a trainer that outlived its worker would
 * train for a lost lease and write into a folder that the next worker's trainer uses.
 *
 * With limits (a program that is not ours) it also gives up every way to gain privileges, leaves no core file, and may have
 * no more memory of its own and write no larger files than they say (0 = as much as the worker). */
#pragma once

#define LAUNCH_WORD "exec-trainer"
#define LAUNCH_LIMITS "limits=" /* no program's path begins so: they are absolute */

/* Replaces the process; returns only on failure, with the exit status: 127 as shells have it. */
int launch_exec(int argc, char **argv);
