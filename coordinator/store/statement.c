#include "store/statement.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

int store_fault(struct store *store, int code) {
        snprintf(store->fault, sizeof store->fault, "%s", sqlite3_errmsg(store->db));
        switch (code & 0xff) {
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_CANTOPEN:
                return -EROFS;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_CONSTRAINT:
                return -EEXIST;
        default:
                return -EIO;
        }
}

static int find_statement(struct store *store, const char *sql, sqlite3_stmt **ret) {
        for (size_t i = 0; i < store->n_statements; i++)
                if (store->statements[i].sql == sql) {
                        *ret = store->statements[i].statement;
                        return 0;
                }
        if (store->n_statements >= STORE_STATEMENTS)
                return -ENOBUFS;
        sqlite3_stmt *statement = NULL;
        int r = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
        if (r != SQLITE_OK)
                return store_fault(store, r);
        store->statements[store->n_statements].sql = sql;
        store->statements[store->n_statements++].statement = statement;
        *ret = statement;
        return 0;
}

static int bind_one(sqlite3_stmt *statement, int index, const struct bind *bind) {
        switch (bind->kind) {
        case BIND_INTEGER:
                return sqlite3_bind_int64(statement, index, bind->integer);
        case BIND_REAL:
                return sqlite3_bind_double(statement, index, bind->real);
        case BIND_TEXT:
                return sqlite3_bind_text(statement, index, bind->text, -1, SQLITE_STATIC);
        default:
                return sqlite3_bind_null(statement, index);
        }
}

/* SQLite rolls back a whole transaction by itself on some failures (disk full, I/O, memory). What its unit, or the units
 * after it, would write then must not be committed one statement at a time. */
static int check_transaction(struct store *store) {
        if (!store->is_begun || !sqlite3_get_autocommit(store->db))
                return 0;
        snprintf(store->fault, sizeof store->fault, "the transaction was rolled back");
        return -EIO;
}

int store_query_binds(struct store *store, const char *sql, sqlite3_stmt **ret, const struct bind *binds) {
        sqlite3_stmt *statement = NULL;
        int r = check_transaction(store);
        if (r == 0)
                r = find_statement(store, sql, &statement);
        if (r < 0)
                return r;
        sqlite3_reset(statement);
        for (int i = 0; binds[i].kind != BIND_END; i++) {
                r = bind_one(statement, i + 1, &binds[i]);
                if (r != SQLITE_OK)
                        return store_fault(store, r);
        }
        *ret = statement;
        return 0;
}

int store_step(struct store *store, sqlite3_stmt *statement) {
        int r = sqlite3_step(statement);
        if (r == SQLITE_ROW)
                return STORE_ROW;
        if (r == SQLITE_DONE) {
                sqlite3_reset(statement);
                return STORE_DONE;
        }
        int fault = store_fault(store, r);
        sqlite3_reset(statement);
        return fault;
}

void store_reset(sqlite3_stmt *statement) {
        sqlite3_reset(statement);
}

int store_execute_binds(struct store *store, const char *sql, const struct bind *binds) {
        sqlite3_stmt *statement = NULL;
        int r = store_query_binds(store, sql, &statement, binds);
        if (r == 0)
                r = store_step(store, statement);
        if (r == STORE_ROW) {
                sqlite3_reset(statement);
                return 0;
        }
        return r;
}

int store_integer_binds(struct store *store, const char *sql, int64_t *ret, const struct bind *binds) {
        sqlite3_stmt *statement = NULL;
        int r = store_query_binds(store, sql, &statement, binds);
        if (r == 0)
                r = store_step(store, statement);
        if (r == STORE_ROW) {
                *ret = sqlite3_column_int64(statement, 0);
                sqlite3_reset(statement);
        }
        return r;
}

char *store_column_text(sqlite3_stmt *statement, int column, int *r) {
        if (sqlite3_column_type(statement, column) == SQLITE_NULL)
                return NULL;
        const unsigned char *text = sqlite3_column_text(statement, column);
        char *copy = text ? strdup((const char *)text) : NULL;
        if (!copy)
                *r = -ENOMEM;
        return copy;
}
