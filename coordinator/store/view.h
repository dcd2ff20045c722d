/* Private to the store: a database opened to be read, for the functions of upkeep.h. */
#pragma once
#include <sqlite3.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/* Opens a database of ours (of this version or an older one) for reading, and holds a read transaction on it until it is closed. */
int view_open(const char *path, sqlite3 **ret, int64_t *ret_version, struct error *err);

/* "path: what: what SQLite said". */
int view_fail(sqlite3 *db, const char *path, const char *what, struct error *err);

/* The first column of the first row; 0 or an SQLite code. */
int view_integer(sqlite3 *db, const char *sql, int64_t *ret);

/* PRAGMA integrity_check and foreign_key_check: visits a line for every fault. 0 or an SQLite code. */
int view_check_file(sqlite3 *db, void (*say)(void *data, const char *line), void *data);

CLEANUP_DEFINE(sqlite3 *, cleanup_sqlite, sqlite3_close)
CLEANUP_DEFINE(sqlite3_stmt *, cleanup_statement, sqlite3_finalize)
