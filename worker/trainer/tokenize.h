#pragma once

/* `sweep-trainer tokenize`: sentence pairs as JSON lines in, token ids as JSON lines out. Returns the exit status. */
int tokenize_main(int argc, char **argv);
