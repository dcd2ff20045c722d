#include "net/download.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"

#define CONNECT_TIMEOUT_S 20L
#define STALLED_S 60L /* with less than a byte a second */
#define ETAG_BYTES 256

struct transfer {
        const struct download *download;
        CURL *curl;
        int fd;
        uint64_t offset;       /* bytes that were there */
        uint64_t got;          /* and all of them now */
        uint64_t total;        /* 0 = unknown */
        uint64_t range_start;  /* what Content-Range says; UINT64_MAX = nothing */
        char etag[ETAG_BYTES]; /* of this answer */
        bool is_begun;
        int failure; /* negative errno that ended it */
        struct error *err;
};

char *download_part(const char *path) {
        char *part;
        return asprintf(&part, "%s.part", path) < 0 ? NULL : part;
}

static char *mark_path(const char *path) {
        char *mark;
        return asprintf(&mark, "%s.part.etag", path) < 0 ? NULL : mark;
}

void download_forget(const char *path) {
        _cleanup_free_ char *part = download_part(path), *mark = mark_path(path);
        if (part)
                unlink(part);
        if (mark)
                unlink(mark);
}

/* --- answers ----------------------------------------------------------------------------------------- */

static size_t take_header(char *line, size_t size, size_t n, void *data) {
        struct transfer *transfer = data;
        size_t len = size * n;
        char text[1024];
        snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), line);
        text[strcspn(text, "\r\n")] = 0;
        if (strncasecmp(text, "HTTP/", 5) == 0) { /* of the answer after a redirect */
                transfer->etag[0] = 0;
                transfer->range_start = UINT64_MAX;
        } else if (strncasecmp(text, "ETag:", 5) == 0) {
                const char *value = text + 5 + strspn(text + 5, " ");
                if (strncmp(value, "W/", 2) != 0 && strlen(value) < sizeof transfer->etag) /* a weak one says nothing of bytes */
                        snprintf(transfer->etag, sizeof transfer->etag, "%s", value);
        } else if (strncasecmp(text, "Content-Range:", 14) == 0) {
                unsigned long long start;
                if (sscanf(text + 14, " bytes %llu-", &start) == 1)
                        transfer->range_start = start;
        }
        return len;
}

static int fail(struct transfer *transfer, int code, const char *text) {
        transfer->failure = error_set(transfer->err, code, "%s: %s", transfer->download->url, text);
        return transfer->failure;
}

/* The mark must be on disk before the bytes that it stands for. */
static int keep_mark(struct transfer *transfer) {
        _cleanup_free_ char *mark = mark_path(transfer->download->path);
        if (!mark)
                return -ENOMEM;
        if (!transfer->etag[0])
                return unlink(mark) < 0 && errno != ENOENT ? -errno : 0;
        return fs_write_atomic(mark, transfer->etag, strlen(transfer->etag), 0644, transfer->err);
}

/* The first bytes of the body are here: do they go on where we stopped, or is it the whole file again? */
static int begin(struct transfer *transfer) {
        long status = 0;
        curl_off_t length = -1;
        uint64_t free_bytes;
        curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(transfer->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (status == 206 && transfer->range_start != transfer->offset)
                return fail(transfer, -EPROTO, "the server sent another part than the one asked for");
        if (status != 206 && transfer->offset > 0) {
                transfer->offset = transfer->got = 0;
                if (ftruncate(transfer->fd, 0) < 0 || lseek(transfer->fd, 0, SEEK_SET) < 0)
                        return fail(transfer, -errno, strerror(errno));
        }
        if (length >= 0)
                transfer->total = transfer->offset + (uint64_t)length;
        if (transfer->total > DOWNLOAD_BYTES_MAX)
                return fail(transfer, -EFBIG, "the file is larger than anything that is downloaded");
        _cleanup_free_ char *part = download_part(transfer->download->path);
        if (length > 0 && part && fs_free_bytes(part, &free_bytes, transfer->err) == 0 && (uint64_t)length > free_bytes)
                return fail(transfer, -ENOSPC, "the file does not fit on the disk");
        int r = keep_mark(transfer);
        return r < 0 ? fail(transfer, r, strerror(-r)) : 0;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *data) {
        struct transfer *transfer = data;
        size_t len = size * n, done = 0;
        if (!transfer->is_begun) {
                transfer->is_begun = true;
                if (begin(transfer) < 0)
                        return 0;
        }
        if (transfer->got + len > DOWNLOAD_BYTES_MAX) {
                fail(transfer, -EFBIG, "the file is larger than anything that is downloaded");
                return 0;
        }
        while (done < len) {
                ssize_t written = write(transfer->fd, bytes + done, len - done);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0) {
                        fail(transfer, -errno, strerror(errno));
                        return 0;
                }
                done += (size_t)written;
        }
        transfer->got += len;
        if (transfer->download->progress)
                transfer->download->progress(transfer->download->data, transfer->got, transfer->total);
        return len;
}

/* --- the request ------------------------------------------------------------------------------------- */

/* Opens the part; its length is where to go on, 0 when it is not to be trusted. */
static int open_part(struct transfer *transfer, char etag[static ETAG_BYTES]) {
        const struct download *download = transfer->download;
        _cleanup_free_ char *part = download_part(download->path), *mark = mark_path(download->path);
        _cleanup_buf_ struct buf text = BUF_INIT(ETAG_BYTES - 1);
        struct stat st;
        struct error ignored;
        if (!part || !mark)
                return error_set(transfer->err, -ENOMEM, "out of memory");
        transfer->fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (transfer->fd < 0 || fstat(transfer->fd, &st) < 0)
                return error_set(transfer->err, -errno, "%s: %s", part, strerror(errno));
        if (flock(transfer->fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(transfer->err, -EBUSY, "%s: another fetch is at it", part);
        if (fs_read(mark, &text, &ignored) == 0 && text.len > 0)
                memcpy(etag, text.data, text.len + 1);
        if (!download->is_known && !etag[0] && ftruncate(transfer->fd, 0) < 0)
                return error_set(transfer->err, -errno, "%s: %s", part, strerror(errno));
        off_t end = lseek(transfer->fd, 0, SEEK_END);
        transfer->offset = transfer->got = end > 0 ? (uint64_t)end : 0;
        return 0;
}

static struct curl_slist *set_up(struct transfer *transfer, const char *etag, char range[static 32]) {
        const struct download *download = transfer->download;
        CURL *curl = transfer->curl;
        struct curl_slist *headers = NULL;
        const char *protocols = strncasecmp(download->url, "https:", 6) == 0 ? "https" : "http,https";
        curl_easy_setopt(curl, CURLOPT_URL, download->url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)DOWNLOAD_REDIRECTS_MAX);
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALLED_S);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "sweep-worker/" SWEEPD_VERSION);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
        if (download->ca_file)
                curl_easy_setopt(curl, CURLOPT_CAINFO, download->ca_file);
        if (transfer->offset == 0)
                return NULL;
        snprintf(range, 32, "%llu-", (unsigned long long)transfer->offset);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
        if (etag[0]) {
                char line[ETAG_BYTES + 16];
                snprintf(line, sizeof line, "If-Range: %s", etag);
                headers = curl_slist_append(NULL, line);
                curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        }
        return headers;
}

/* What became of it. */
static int judge(struct transfer *transfer, CURLcode code, const char *detail) {
        long status = 0;
        curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
        if (transfer->failure < 0)
                return transfer->failure;
        if (code == CURLE_OK && !transfer->is_begun && ftruncate(transfer->fd, 0) < 0) /* an empty file */
                return fail(transfer, -errno, strerror(errno));
        if (code == CURLE_OK)
                return fsync(transfer->fd) < 0 ? fail(transfer, -errno, strerror(errno)) : 0;
        error_set(transfer->err, -EIO, "%s: %s", transfer->download->url, *detail ? detail : curl_easy_strerror(code));
        if (status == 416) { /* our part is as long as the file, or longer: from the start */
                download_forget(transfer->download->path);
                return DOWNLOAD_CUT;
        }
        if (code == CURLE_HTTP_RETURNED_ERROR && (status == 404 || status == 410))
                return -ENOENT;
        if (code == CURLE_HTTP_RETURNED_ERROR && status >= 400 && status < 500 && status != 408 && status != 429)
                return -EPROTO;
        switch (code) {
        case CURLE_URL_MALFORMAT:
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_TOO_MANY_REDIRECTS:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
                return -EPROTO;
        default:
                return DOWNLOAD_CUT;
        }
}

int download_file(const struct download *download, struct error *err) {
        struct transfer transfer = {.download = download, .fd = -1, .range_start = UINT64_MAX, .err = err};
        char etag[ETAG_BYTES] = "", range[32], detail[CURL_ERROR_SIZE] = "";
        int r = open_part(&transfer, etag);
        if (r == 0 && !(transfer.curl = curl_easy_init()))
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0) {
                struct curl_slist *headers = set_up(&transfer, etag, range);
                curl_easy_setopt(transfer.curl, CURLOPT_ERRORBUFFER, detail);
                CURLcode code = curl_easy_perform(transfer.curl);
                r = judge(&transfer, code, detail);
                curl_slist_free_all(headers);
                curl_easy_cleanup(transfer.curl);
        }
        if (transfer.fd >= 0)
                close(transfer.fd);
        return r;
}
