/* Opening, migrating, transactions. Invariants: the file is ours alone while it is open (flock on FILE.lock, which the
 * kernel drops with the process, so that a kill -9 leaves nothing to clean up), its version is the newest one, and a
 * commit has reached the disk when it returns (WAL with synchronous=FULL). */
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/log.h"
#include "store/checkpoint.h"
#include "store/migrate.h"
#include "store/statement.h"
#include "store/upkeep.h"

#define BUSY_MS 2000              /* another process may read (a backup); nobody else writes */
#define LOG_PAGES 8192            /* 32 MiB */
#define LITTLE_PAGES 512

static int fail(struct store *store, struct error *err, const char *what) {
        int r = store_fault(store, sqlite3_extended_errcode(store->db));
        return error_set(err, r, "%s: %s: %s", store->path, what, store->fault);
}

static int exec(struct store *store, const char *sql) {
        int r = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
        return r == SQLITE_OK ? 0 : store_fault(store, r);
}

/* --- migration --------------------------------------------------------------------------------------------- */

static const char *placeholder_text(const char *name, size_t len) {
        static const struct {
                const char *name;
                const char *(*text)(void);
        } table[] = {{"trial_states", trial_states_sql}, {"sweep_states", sweep_states_sql}, {"failure_reasons", failure_reasons_sql}};
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
                if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
                        return table[i].text();
        return NULL;
}

/* Replaces each {{name}} by its table's text. */
static int fill_placeholders(const char *sql, struct buf *ret) {
        for (const char *open; (open = strstr(sql, "{{"));) {
                const char *close = strstr(open, "}}");
                const char *text = close ? placeholder_text(open + 2, (size_t)(close - open - 2)) : NULL;
                if (!text)
                        return -EINVAL;
                int r = buf_append(ret, sql, (size_t)(open - sql));
                if (r == 0)
                        r = buf_puts(ret, text);
                if (r < 0)
                        return r;
                sql = close + 2;
        }
        return buf_puts(ret, sql);
}

static int read_pragma(struct store *store, const char *sql, int64_t *ret) {
        sqlite3_stmt *statement = NULL;
        int r = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
        if (r == SQLITE_OK && (r = sqlite3_step(statement)) == SQLITE_ROW) {
                *ret = sqlite3_column_int64(statement, 0);
                r = SQLITE_OK;
        }
        sqlite3_finalize(statement);
        return r == SQLITE_OK ? 0 : store_fault(store, r);
}

static int backup(struct store *store, int64_t version, struct error *err) {
        _cleanup_buf_ struct buf path = BUF_INIT(0), temporary = BUF_INIT(0);
        if (buf_printf(&path, "%s.v%lld.bak", store->path, (long long)version) < 0 || buf_printf(&temporary, "%s.new", path.data) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        unlink(temporary.data);
        sqlite3_stmt *statement = NULL;
        int r = sqlite3_prepare_v2(store->db, "VACUUM INTO ?1", -1, &statement, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_bind_text(statement, 1, temporary.data, -1, SQLITE_STATIC);
        if (r == SQLITE_OK)
                r = sqlite3_step(statement);
        if (r != SQLITE_DONE)
                r = fail(store, err, "cannot write a backup copy before migrating");
        else
                r = 0;
        sqlite3_finalize(statement);
        return r < 0 ? r : fs_commit(temporary.data, path.data, err);
}

static int apply(struct store *store, const struct migration *migration, struct error *err) {
        _cleanup_buf_ struct buf sql = BUF_INIT(0);
        if (fill_placeholders(migration->sql, &sql) < 0)
                return error_set(err, -EINVAL, "%s: migration %s has an unknown placeholder", store->path, migration->name);
        if (exec(store, sql.data) < 0)
                return fail(store, err, migration->name);
        int64_t version = 0;
        if (read_pragma(store, "PRAGMA user_version", &version) < 0 || version != migration->version)
                return error_set(err, -EINVAL, "%s: migration %s did not set its version", store->path, migration->name);
        return 0;
}

int store_migrate(struct store *store, const struct migration *migrations, size_t n, struct error *err) {
        int64_t version = 0;
        if (read_pragma(store, "PRAGMA user_version", &version) < 0)
                return fail(store, err, "cannot read");
        if (version > (int64_t)n)
                return error_set(err, -EINVAL, "%s: the database has version %lld, this program knows up to version %zu", store->path,
                                 (long long)version, n);
        if (version == (int64_t)n)
                return 0;
        int r = version > 0 ? backup(store, version, err) : 0;
        if (r < 0)
                return r;
        if (exec(store, "BEGIN IMMEDIATE") < 0)
                return fail(store, err, "cannot migrate");
        for (size_t i = (size_t)version; i < n && r == 0; i++)
                r = apply(store, &migrations[i], err);
        if (r == 0 && exec(store, "COMMIT") < 0)
                r = fail(store, err, "cannot migrate");
        if (r < 0)
                store_rollback(store);
        return r;
}

/* --- open and close ---------------------------------------------------------------------------------------- */

static int take_lock(struct store *store, struct error *err) {
        _cleanup_buf_ struct buf path = BUF_INIT(0);
        if (buf_printf(&path, "%s.lock", store->path) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        store->lock_fd = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (store->lock_fd < 0)
                return error_set(err, -errno, "cannot create %s: %s", path.data, strerror(errno));
        if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(err, -EBUSY, "%s: another server has this database open", store->path);
        return 0;
}

int store_is_served(const char *path, bool *ret, struct error *err) {
        _cleanup_buf_ struct buf lock = BUF_INIT(0);
        if (access(path, F_OK) < 0)
                return error_set(err, -errno, "%s: %s", path, strerror(errno));
        if (buf_printf(&lock, "%s.lock", path) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        _cleanup_fd_ int fd = open(lock.data, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return error_set(err, -errno, "%s: %s", lock.data, strerror(errno));
        *ret = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
        return 0;
}

/* A foreign SQLite file has tables but not our application id. */
static int check_ours(struct store *store, struct error *err) {
        int64_t application = 0, tables = 0;
        if (read_pragma(store, "PRAGMA application_id", &application) < 0 ||
            read_pragma(store, "SELECT count(*) FROM sqlite_schema", &tables) < 0)
                return fail(store, err, "cannot read");
        if (application != STORE_APPLICATION_ID && (application != 0 || tables > 0))
                return error_set(err, -EINVAL, "%s: not a database of this program", store->path);
        return 0;
}

static int configure(struct store *store, struct error *err) {
        sqlite3_busy_timeout(store->db, BUSY_MS);
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        if (exec(store, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 8192; "
                        "PRAGMA cache_size = -32768") < 0)
                return fail(store, err, "cannot open");
        return 0;
}

int store_open(const char *path, struct store **ret, struct error *err) {
        struct store *store = calloc(1, sizeof *store);
        if (!store)
                return error_set(err, -ENOMEM, "out of memory");
        store->lock_fd = -1;
        store->path = strdup(path);
        int r = store->path ? take_lock(store, err) : error_set(err, -ENOMEM, "out of memory");
        if (r < 0)
                goto fail;
        mode_t mask = umask(0077); /* trials, specs and lease tokens are nobody else's */
        r = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (r == SQLITE_OK)
                r = check_ours(store, err);
        else
                r = fail(store, err, "cannot open");
        if (r == 0)
                r = configure(store, err);
        if (r == 0 && exec(store, "PRAGMA journal_mode = WAL") < 0)
                r = fail(store, err, "cannot open");
        if (r == 0)
                r = store_migrate(store, schema_migrations, schema_n_migrations, err);
        umask(mask);
        if (r < 0)
                goto fail;
        *ret = store;
        return 0;
fail:
        store_close(store);
        return r;
}

int store_open_beside(const char *path, struct store **ret, struct error *err) {
        struct store *store = calloc(1, sizeof *store);
        if (!store)
                return error_set(err, -ENOMEM, "out of memory");
        store->lock_fd = -1;
        store->path = strdup(path);
        int64_t version = 0;
        int r = store->path ? 0 : error_set(err, -ENOMEM, "out of memory");
        if (r == 0 && access(path, F_OK) < 0)
                r = error_set(err, -errno, "%s: %s", path, strerror(errno));
        if (r == 0 && sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                r = fail(store, err, "cannot open");
        if (r == 0)
                r = check_ours(store, err);
        if (r == 0)
                r = configure(store, err);
        if (r == 0 && exec(store, "PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 0") < 0) /* the server takes the log back */
                r = fail(store, err, "cannot open");
        if (r == 0 && read_pragma(store, "PRAGMA user_version", &version) < 0)
                r = fail(store, err, "cannot read");
        if (r == 0 && version != (int64_t)schema_n_migrations)
                r = error_set(err, -EPROTO, "%s: the database has version %lld, this program works on version %zu", path, (long long)version,
                              schema_n_migrations);
        if (r < 0) {
                store_close(store);
                return r;
        }
        *ret = store;
        return 0;
}

/* Not even closing: that would take the log back and delete it. */
static void end_process(void *unused) {
        (void)unused;
        log_error("the database could not be synced: this process ends, and the next one takes the whole log back");
        _exit(EXIT_FAILURE);
}

int store_checkpoint_aside(struct store *store, struct error *err) {
        const struct checkpoint_config config = {.log_pages = LOG_PAGES, .little_pages = LITTLE_PAGES, .lost = end_process};
        int r = checkpointer_new(store, &config, &store->checkpointer, err);
        return r < 0 ? r : checkpointer_start(store->checkpointer, err);
}

void store_close(struct store *store) {
        if (!store)
                return;
        checkpointer_free(store->checkpointer);
        for (size_t i = 0; i < store->n_statements; i++)
                sqlite3_finalize(store->statements[i].statement);
        sqlite3_close(store->db);
        if (store->lock_fd >= 0)
                close(store->lock_fd);
        free(store->path);
        free(store);
}

/* --- transactions ------------------------------------------------------------------------------------------ */

static int begin(struct store *store, int r) {
        store->is_begun = r == 0;
        return r;
}

/* A database that cannot be written still answers reads. */
int store_begin(struct store *store) {
        int r = store_execute(store, "BEGIN IMMEDIATE");
        return begin(store, r < 0 && !store_in_transaction(store) ? store_execute(store, "BEGIN") : r);
}

int store_begin_read(struct store *store) {
        return begin(store, store_execute(store, "BEGIN"));
}

int store_commit(struct store *store) {
        int r = store_in_transaction(store) ? store_execute(store, "COMMIT") : -EIO;
        if (r < 0)
                store_rollback(store);
        store->is_begun = false;
        return r;
}

/* The transaction ends here; what is tried in it afterwards fails, until store_commit (which fails, too) or store_rollback. */
static void abandon(struct store *store) {
        for (size_t i = 0; i < store->n_statements; i++)
                sqlite3_reset(store->statements[i].statement);
        if (store_in_transaction(store) && sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
                sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL); /* no memory for the statement itself: SQLite gave some back */
}

void store_rollback(struct store *store) {
        abandon(store);
        store->is_begun = false;
}

bool store_in_transaction(const struct store *store) {
        return !sqlite3_get_autocommit(store->db);
}

int store_savepoint(struct store *store) {
        return store_execute(store, "SAVEPOINT unit");
}

/* A unit that can be neither kept nor undone as a whole takes the transaction with it: half of it must not be committed. */
int store_savepoint_release(struct store *store) {
        int r = store_execute(store, "RELEASE unit");
        if (r < 0)
                abandon(store);
        return r;
}

int store_savepoint_undo(struct store *store) {
        int r = store_in_transaction(store) ? store_execute(store, "ROLLBACK TO unit") : -EIO;
        if (r == 0)
                r = store_execute(store, "RELEASE unit");
        if (r < 0)
                abandon(store);
        return r;
}

int store_probe(struct store *store) {
        int r = store_execute(store, "INSERT INTO idempotency_keys VALUES ('probe', '', '', '', 0, '', 0)");
        return r < 0 ? r : store_execute(store, "DELETE FROM idempotency_keys WHERE path = 'probe'");
}

const char *store_error(const struct store *store) {
        return store->fault;
}
