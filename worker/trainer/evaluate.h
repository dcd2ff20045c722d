/* sweep-trainer evaluate: a finished model on labelled rows that no training has seen. */
#pragma once

int evaluate_main(int argc, char **argv);
