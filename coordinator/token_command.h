/* `sweepd token create|list|revoke`: works on the database, beside a running server too. */
#pragma once

/* argv[0] is the word "token". The exit status. */
int token_command(int argc, char **argv);
