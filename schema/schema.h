/* The migrations of this folder, embedded at build time by embed.py: NNNN_name.sql becomes migration NNNN.
 * They are append-only: a database remembers in user_version how many have been applied. */
#pragma once
#include <stddef.h>

struct migration {
        int version;      /* 1, 2, … without gaps */
        const char *name; /* "0001_initial.sql" */
        const char *sql;  /* with {{placeholders}} */
};

extern const struct migration schema_migrations[];
extern const size_t schema_n_migrations;
