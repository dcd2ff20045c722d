/* Online backup. SQLite's backup interface copies the pages that one read transaction sees, so that the copy is the database
 * as of one moment while a server goes on writing beside it; then the copy is checked like any other database, before it
 * takes the place of the backup before. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "store/view.h"
#include "store/upkeep.h"

#define STEP_PAGES 4096

static int copy_pages(sqlite3 *from, sqlite3 *to, const char *to_path, struct error *err) {
        sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
        if (!backup)
                return view_fail(to, to_path, "cannot write the copy", err);
        int r;
        do
                r = sqlite3_backup_step(backup, STEP_PAGES);
        while (r == SQLITE_OK);
        sqlite3_backup_finish(backup);
        if (r == SQLITE_DONE)
                return 0;
        return error_set(err, r == SQLITE_FULL ? -ENOSPC : -EIO, "%s: cannot write the copy: %s", to_path, sqlite3_errstr(r));
}

struct first_fault {
        char text[256];
        unsigned n;
};

static void keep_first(void *data, const char *line) {
        struct first_fault *first = data;
        if (first->n++ == 0)
                snprintf(first->text, sizeof first->text, "%s", line);
}

static int verify(sqlite3 *copy, const char *path, struct error *err) {
        struct first_fault first = {0};
        if (view_check_file(copy, keep_first, &first) != SQLITE_OK)
                return view_fail(copy, path, "cannot check the copy", err);
        if (first.n > 0)
                return error_set(err, -EUCLEAN, "the copy is not sound, and so the database is not (sweepd check tells more): %s", first.text);
        return 0;
}

static int write_copy(sqlite3 *from, const char *temporary, struct error *err) {
        _cleanup_(cleanup_sqlite) sqlite3 *to = NULL;
        if (sqlite3_open_v2(temporary, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                return view_fail(to, temporary, "cannot open", err);
        int r = copy_pages(from, to, temporary, err);
        /* One file: a server that opens it later turns its log on again. */
        if (r == 0 && sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != SQLITE_OK)
                r = view_fail(to, temporary, "cannot finish the copy", err);
        return r < 0 ? r : verify(to, temporary, err);
}

/* What stands at `to` may be replaced: nothing, or a database of ours that is not the one being copied. */
static int check_target(const char *path, const char *to, struct error *err) {
        struct stat from, there;
        if (stat(to, &there) < 0)
                return errno == ENOENT ? 0 : error_set(err, -errno, "%s: %s", to, strerror(errno));
        if (stat(path, &from) == 0 && from.st_dev == there.st_dev && from.st_ino == there.st_ino)
                return error_set(err, -EINVAL, "%s: this is the database itself", to);
        _cleanup_free_ char *log = NULL;
        if (asprintf(&log, "%s-wal", to) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(log, F_OK) == 0) /* it would be taken for the log of the copy */
                return error_set(err, -EBUSY, "refusing to replace %s: it is in use, or was not closed (%s is there)", to, log);
        _cleanup_(cleanup_sqlite) sqlite3 *db = NULL;
        int64_t version;
        struct error why = {0};
        if (view_open(to, &db, &version, &why) < 0)
                return error_set(err, -EEXIST, "refusing to replace it: %s", why.text);
        return 0;
}

/* The temporary file, ours alone and empty. One that a killed backup left is used again. */
static int take_temporary(const char *path, struct error *err) {
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600); /* it holds all that the database holds */
        if (fd < 0)
                return error_set(err, -errno, "%s: %s", path, strerror(errno));
        struct stat mine, named;
        bool alone = flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_ino == named.st_ino;
        if (!alone) { /* locked, or renamed by who had it */
                close(fd);
                return error_set(err, -EBUSY, "%s: another backup is writing this copy", path);
        }
        _cleanup_free_ char *journal = NULL;
        if (asprintf(&journal, "%s-journal", path) > 0)
                unlink(journal);
        if (!journal || ftruncate(fd, 0) < 0) {
                close(fd);
                return error_set(err, journal ? -errno : -ENOMEM, "%s: cannot write the copy", path);
        }
        return fd;
}

int store_backup(const char *path, const char *to, struct error *err) {
        _cleanup_(cleanup_sqlite) sqlite3 *from = NULL;
        _cleanup_free_ char *temporary = NULL;
        int64_t version;
        int r = view_open(path, &from, &version, err);
        if (r == 0)
                r = check_target(path, to, err);
        if (r == 0 && asprintf(&temporary, "%s.tmp", to) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        if (r < 0)
                return r;
        _cleanup_fd_ int fd = take_temporary(temporary, err);
        if (fd < 0)
                return fd;
        r = write_copy(from, temporary, err);
        if (r == 0)
                r = fs_commit(temporary, to, err);
        if (r < 0)
                unlink(temporary);
        return r;
}
