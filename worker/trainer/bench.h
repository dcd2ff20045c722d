/* `sweep-trainer bench`: how fast a training step (or an evaluation) is on this machine, with random weights. */
#pragma once

/* argv[0] is the subcommand. Prints one JSON object on stdout. Exit code: 0, 1 on failure, 2 on wrong usage. */
int bench_main(int argc, char **argv);
