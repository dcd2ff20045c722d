#pragma once

/* `sweep-trainer predict`: sentence pairs as JSON lines in, labels as JSON lines out. Returns the exit status. */
int predict_main(int argc, char **argv);
