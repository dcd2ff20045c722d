/* SQLite takes its log back within the commit that fills it: thousands of pages and two syncs, for which everybody waits whose
 * write shares that commit. Here that commit only wakes a thread, which copies and syncs while others commit. What they add
 * meanwhile stays in the log, so there is never a moment at which a busy log is empty: once little is left, a commit takes
 * back that little itself, and the next one begins the log anew.
 *
 *   idle ──log is long──▶ copying ──▶ copied ──little left──▶ the commit finishes ──▶ idle
 *                            ▲           └──much left──▶ again
 *
 * A reader that takes long can keep the log from beginning anew: then it grows, and is looked at after every log_pages more.
 *
 * A database that could not be synced is the end of the process. Its pages may be gone, and Linux takes them for written; the next
 * sync would say that all is well, and the log, where they still are, would begin anew. Whoever opens the database after us copies
 * the whole log again. */
#include "store/checkpoint.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "store/store.h"

#define ROUNDS_MAX 8 /* of copying, while others write faster than that */

enum work { WORK_IDLE, WORK_COPYING, WORK_COPIED };

struct checkpointer {
        struct store *store; /* the committing thread's; only its hook is used here */
        sqlite3 *db;         /* the thread's own */
        struct checkpoint_config config;
        pthread_t thread;
        bool has_thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        enum work work;
        int n_copied; /* pages of the log that are in the database */
        bool stopping;
        /* the committing thread's */
        int look_at; /* no work before the log has so many pages */
        int last_pages, rounds;
};

static void judge(struct checkpointer *checkpointer, sqlite3 *db, int r) {
        if (r == SQLITE_OK)
                return;
        log_debug("the log could not be taken back", log_s("error", sqlite3_errstr(r)));
        if (r == SQLITE_IOERR_FSYNC || sqlite3_extended_errcode(db) == SQLITE_IOERR_FSYNC)
                checkpointer->config.lost(checkpointer->config.lost_data);
}

/* --- the thread ---------------------------------------------------------------------------------------- */

/* A checkpoint that others overtake does not sync the database: the last one would have to. */
static int sync_database(sqlite3 *db) {
        sqlite3_file *file = NULL;
        int r = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
        return r == SQLITE_OK && file && file->pMethods ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY) : r;
}

void checkpointer_copy(struct checkpointer *checkpointer) {
        int n_log = 0, n_copied = 0;
        int r = sqlite3_wal_checkpoint_v2(checkpointer->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &n_log, &n_copied);
        if (r == SQLITE_OK)
                r = sync_database(checkpointer->db);
        judge(checkpointer, checkpointer->db, r);
        pthread_mutex_lock(&checkpointer->lock);
        checkpointer->n_copied = r == SQLITE_OK ? n_copied : 0;
        checkpointer->work = WORK_COPIED;
        pthread_mutex_unlock(&checkpointer->lock);
}

bool checkpointer_wants_copy(struct checkpointer *checkpointer) {
        pthread_mutex_lock(&checkpointer->lock);
        bool wants = checkpointer->work == WORK_COPYING;
        pthread_mutex_unlock(&checkpointer->lock);
        return wants;
}

static void *run(void *data) {
        struct checkpointer *checkpointer = data;
        pthread_mutex_lock(&checkpointer->lock);
        while (!checkpointer->stopping) {
                if (checkpointer->work != WORK_COPYING) {
                        pthread_cond_wait(&checkpointer->changed, &checkpointer->lock);
                        continue;
                }
                pthread_mutex_unlock(&checkpointer->lock);
                checkpointer_copy(checkpointer);
                pthread_mutex_lock(&checkpointer->lock);
        }
        pthread_mutex_unlock(&checkpointer->lock);
        return NULL;
}

/* --- the committing thread ----------------------------------------------------------------------------- */

static void begin_copy(struct checkpointer *checkpointer) {
        pthread_mutex_lock(&checkpointer->lock);
        checkpointer->work = WORK_COPYING;
        pthread_cond_signal(&checkpointer->changed);
        pthread_mutex_unlock(&checkpointer->lock);
        checkpointer->rounds++;
}

static void finish(struct checkpointer *checkpointer, sqlite3 *db, int n_pages) {
        judge(checkpointer, db, sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL)); /* else it is looked at later */
        pthread_mutex_lock(&checkpointer->lock);
        checkpointer->work = WORK_IDLE;
        pthread_mutex_unlock(&checkpointer->lock);
        checkpointer->rounds = 0;
        checkpointer->look_at = n_pages + checkpointer->config.log_pages; /* unless it begins anew */
}

/* After each commit; n_pages: length of the log. */
static int on_commit(void *data, sqlite3 *db, const char *name, int n_pages) {
        (void)name;
        struct checkpointer *checkpointer = data;
        if (n_pages < checkpointer->last_pages)
                checkpointer->look_at = checkpointer->config.log_pages;
        checkpointer->last_pages = n_pages;
        if (n_pages < checkpointer->look_at)
                return SQLITE_OK;
        pthread_mutex_lock(&checkpointer->lock);
        enum work work = checkpointer->work;
        int left = n_pages - checkpointer->n_copied;
        pthread_mutex_unlock(&checkpointer->lock);
        if (work == WORK_IDLE || (work == WORK_COPIED && left > checkpointer->config.little_pages && checkpointer->rounds < ROUNDS_MAX))
                begin_copy(checkpointer);
        else if (work == WORK_COPIED)
                finish(checkpointer, db, n_pages);
        return SQLITE_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */

int checkpointer_new(struct store *store, const struct checkpoint_config *config, struct checkpointer **ret, struct error *err) {
        struct checkpointer *checkpointer = calloc(1, sizeof *checkpointer);
        if (!checkpointer)
                return error_set(err, -ENOMEM, "out of memory");
        struct store *beside = NULL;
        int r = store_open_beside(store->path, &beside, err);
        if (r < 0) {
                free(checkpointer);
                return r;
        }
        checkpointer->db = beside->db; /* all that is needed of it */
        beside->db = NULL;
        store_close(beside);
        checkpointer->store = store;
        checkpointer->config = *config;
        checkpointer->look_at = checkpointer->config.log_pages;
        pthread_mutex_init(&checkpointer->lock, NULL);
        pthread_cond_init(&checkpointer->changed, NULL);
        sqlite3_wal_hook(store->db, on_commit, checkpointer); /* instead of SQLite's own */
        *ret = checkpointer;
        return 0;
}

int checkpointer_start(struct checkpointer *checkpointer, struct error *err) {
        int r = pthread_create(&checkpointer->thread, NULL, run, checkpointer);
        if (r != 0)
                return error_set(err, -r, "cannot start the checkpointer's thread");
        checkpointer->has_thread = true;
        return 0;
}

void checkpointer_free(struct checkpointer *checkpointer) {
        if (!checkpointer)
                return;
        sqlite3_wal_hook(checkpointer->store->db, NULL, NULL);
        pthread_mutex_lock(&checkpointer->lock);
        checkpointer->stopping = true;
        pthread_cond_signal(&checkpointer->changed);
        pthread_mutex_unlock(&checkpointer->lock);
        if (checkpointer->has_thread)
                pthread_join(checkpointer->thread, NULL);
        sqlite3_close(checkpointer->db);
        pthread_cond_destroy(&checkpointer->changed);
        pthread_mutex_destroy(&checkpointer->lock);
        free(checkpointer);
}
