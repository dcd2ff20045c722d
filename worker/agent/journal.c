#include "agent/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"

#define JOURNAL_BYTES_MAX (16u << 20)

struct journal {
        int fd;
        char *path;
        size_t n_bytes;
        bool is_broken; /* a write failed: said once */
};

int journal_open(const char *path, bool keep, struct journal **ret, struct error *err) {
        struct journal *journal = calloc(1, sizeof *journal);
        if (!journal || !(journal->path = strdup(path))) {
                free(journal);
                return error_set(err, -ENOMEM, "out of memory");
        }
        struct stat st;
        journal->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | (keep ? 0 : O_TRUNC), 0600);
        if (journal->fd < 0 || fstat(journal->fd, &st) < 0) {
                int r = error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
                journal_close(journal);
                return r;
        }
        journal->n_bytes = (size_t)st.st_size;
        if (journal->n_bytes > 0 && write(journal->fd, "\n", 1) == 1) /* the last line may have been cut off */
                journal->n_bytes++;
        *ret = journal;
        return 0;
}

void journal_close(struct journal *journal) {
        if (!journal)
                return;
        cleanup_fd(&journal->fd);
        free(journal->path);
        free(journal);
}

json_t *journal_read(const struct journal *journal) {
        _cleanup_buf_ struct buf text = BUF_INIT(JOURNAL_BYTES_MAX);
        json_t *points = json_array();
        if (!points || fs_read(journal->path, &text, NULL) < 0)
                return points;
        char *rest = text.data, *line;
        while ((line = strsep(&rest, "\n"))) {
                json_t *point = NULL;
                if (*line && json_read(line, strlen(line), &point, NULL) == 0)
                        json_array_append_new(points, point);
        }
        return points;
}

void journal_append(struct journal *journal, const json_t *point) {
        _cleanup_buf_ struct buf line = BUF_INIT(64 << 10);
        if (json_write(point, &line) < 0 || buf_puts(&line, "\n") < 0 || journal->n_bytes + line.len > JOURNAL_BYTES_MAX)
                return;
        ssize_t n = write(journal->fd, line.data, line.len);
        journal->n_bytes += n > 0 ? (size_t)n : 0;
        if (n != (ssize_t)line.len && !journal->is_broken) {
                journal->is_broken = true;
                log_warning("metric points cannot be kept on disk", log_s("path", journal->path));
        }
}

void journal_clear(struct journal *journal) {
        if (journal->n_bytes > 0 && ftruncate(journal->fd, 0) == 0)
                journal->n_bytes = 0;
}
