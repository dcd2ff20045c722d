/* Private to the store: SQLite statements that are prepared once, bound by type, and mapped to errno.
 *
 * The text of a statement is a string literal beside the function that runs it. It is the key of the cache (by address),
 * so it must have static lifetime, and it is never built at run time: what clients send only ever gets bound. */
#pragma once
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/world.h"

#define STORE_STATEMENTS 128
#define STORE_APPLICATION_ID 0x73776570 /* "swep"; 0001_initial.sql writes it */

struct store {
        sqlite3 *db;
        char *path;
        int lock_fd;
        struct {
                const char *sql;
                sqlite3_stmt *statement;
        } statements[STORE_STATEMENTS];
        size_t n_statements;
        bool is_begun;   /* between store_begin and store_commit or store_rollback: nothing is executed outside of a transaction */
        struct checkpointer *checkpointer; /* NULL: commits take the log back themselves */
        char fault[256]; /* what SQLite said last */
};

struct bind {
        enum { BIND_END, BIND_INTEGER, BIND_REAL, BIND_TEXT, BIND_NULL } kind;
        int64_t integer;
        double real;
        const char *text;
};

#define bind_i(value) ((struct bind){.kind = BIND_INTEGER, .integer = (int64_t)(value)})
#define bind_r(value) ((struct bind){.kind = BIND_REAL, .real = (value)})
#define bind_t(value) ((struct bind){.kind = BIND_TEXT, .text = (value)}) /* NULL pointer = SQL NULL */
#define bind_n() ((struct bind){.kind = BIND_NULL})
#define bind_if(has, bind) ((has) ? (bind) : bind_n())

/* Prepares (once) and binds ?1, ?2, …. Texts are borrowed until the statement is done. Negative errno. */
int store_query_binds(struct store *store, const char *sql, sqlite3_stmt **ret, const struct bind *binds);
#define store_query(store, sql, ret, ...) \
        store_query_binds(store, "" sql, ret, (const struct bind[]){__VA_ARGS__ __VA_OPT__(, ){.kind = BIND_END}})

/* STORE_ROW · STORE_DONE (the statement is reset) · negative errno (reset). */
#define STORE_ROW 1
#define STORE_DONE 0
int store_step(struct store *store, sqlite3_stmt *statement);

/* Leaves off before the last row. */
void store_reset(sqlite3_stmt *statement);

/* Runs a statement that gives no rows; 0 or negative errno. */
int store_execute_binds(struct store *store, const char *sql, const struct bind *binds);
#define store_execute(store, sql, ...) \
        store_execute_binds(store, "" sql, (const struct bind[]){__VA_ARGS__ __VA_OPT__(, ){.kind = BIND_END}})

/* The first column of the first row. STORE_ROW · STORE_DONE (no row; *ret is untouched) · negative errno. */
int store_integer_binds(struct store *store, const char *sql, int64_t *ret, const struct bind *binds);
#define store_integer(store, sql, ret, ...) \
        store_integer_binds(store, "" sql, ret, (const struct bind[]){__VA_ARGS__ __VA_OPT__(, ){.kind = BIND_END}})

/* Takes note of what SQLite said and maps its code: -ENOSPC full, -EROFS, -ENOMEM, -EBUSY, -EEXIST constraint, -EIO else. */
int store_fault(struct store *store, int code);

/* A column as an owned string; NULL for SQL NULL. Sets *r to -ENOMEM when there is no memory, else leaves it. */
char *store_column_text(sqlite3_stmt *statement, int column, int *r);

/* Defines one_NAME (the first row, or STORE_NONE) and all_NAME (up to max rows) from read_NAME and NAME_row_fini. */
#define STORE_DEFINE_READERS(name) \
        static inline __attribute__((unused)) int one_##name(struct store *store, sqlite3_stmt *s, struct name##_row *ret) { \
                int r = store_step(store, s); \
                if (r != STORE_ROW) \
                        return r == STORE_DONE ? STORE_NONE : r; \
                r = read_##name(s, ret); \
                store_reset(s); \
                return r; \
        } \
        static inline __attribute__((unused)) int all_##name(struct store *store, sqlite3_stmt *s, size_t max, struct name##_row *rows, \
                                                             size_t *ret_n) { \
                size_t n = 0; \
                int r = 0; \
                while (r == 0 && n < max && (r = store_step(store, s)) == STORE_ROW) { \
                        r = read_##name(s, &rows[n]); \
                        if (r == 0) \
                                n++; \
                } \
                store_reset(s); \
                if (r < 0) { \
                        while (n > 0) \
                                name##_row_fini(&rows[--n]); \
                        return r; \
                } \
                *ret_n = n; \
                return 0; \
        }
