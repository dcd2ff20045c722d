#include "store/view.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "schema/schema.h"
#include "store/statement.h"

#define BUSY_MS 10000

int view_fail(sqlite3 *db, const char *path, const char *what, struct error *err) {
        return error_set(err, -EIO, "%s: %s: %s", path, what, sqlite3_errmsg(db));
}

int view_integer(sqlite3 *db, const char *sql, int64_t *ret) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int r = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_step(s);
        if (r != SQLITE_ROW)
                return r == SQLITE_DONE ? SQLITE_NOTFOUND : r;
        *ret = sqlite3_column_int64(s, 0);
        return SQLITE_OK;
}

/* Our own application id, and a version that this program knows. */
static int check_kind(sqlite3 *db, const char *path, int64_t *ret_version, struct error *err) {
        int64_t application = 0, version = 0;
        if (view_integer(db, "PRAGMA application_id", &application) != SQLITE_OK ||
            view_integer(db, "PRAGMA user_version", &version) != SQLITE_OK)
                return view_fail(db, path, "cannot read", err);
        if (application != STORE_APPLICATION_ID)
                return error_set(err, -EINVAL, "%s: not a database of this program", path);
        if (version < 1 || version > (int64_t)schema_n_migrations)
                return error_set(err, -EINVAL, "%s: the database has version %lld, this program knows up to version %zu", path,
                                 (long long)version, schema_n_migrations);
        *ret_version = version;
        return 0;
}

int view_open(const char *path, sqlite3 **ret, int64_t *ret_version, struct error *err) {
        _cleanup_(cleanup_sqlite) sqlite3 *db = NULL;
        struct stat st;
        if (stat(path, &st) < 0)
                return error_set(err, -errno, "%s: %s", path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return error_set(err, -EINVAL, "%s: not a file", path);
        /* Not SQLITE_OPEN_READONLY: SQLite 3.40 leaves the CHECKs out of integrity_check there. */
        if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                return view_fail(db, path, "cannot open", err);
        sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* the log is the server's */
        if (sqlite3_exec(db, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; BEGIN", NULL, NULL, NULL) != SQLITE_OK)
                return view_fail(db, path, "cannot read", err);
        int r = check_kind(db, path, ret_version, err); /* its first read begins the snapshot */
        if (r < 0)
                return r;
        *ret = TAKE(db);
        return 0;
}

/* Lines of one pragma; "ok" is none. */
static int each_line(sqlite3 *db, const char *sql, void (*say)(void *data, const char *line), void *data) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int r = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
        while (r == SQLITE_OK && (r = sqlite3_step(s)) == SQLITE_ROW) {
                const char *line = (const char *)sqlite3_column_text(s, 0);
                if (line && strcmp(line, "ok") != 0)
                        say(data, line);
                r = SQLITE_OK;
        }
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

int view_check_file(sqlite3 *db, void (*say)(void *data, const char *line), void *data) {
        int r = each_line(db, "PRAGMA integrity_check(1000)", say, data);
        if (r == SQLITE_OK)
                r = each_line(db,
                              "SELECT \"table\" || ' row ' || coalesce(rowid, '?') || ' refers to a row of ' || parent || ' that is not there' "
                              "FROM pragma_foreign_key_check",
                              say, data);
        return r;
}
