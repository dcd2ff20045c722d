#pragma once

/* `sweep-trainer selftest`: the numbers of a few small training steps, for sweep-worker to compare. Returns the exit status. */
int selftest_main(int argc, char **argv);
