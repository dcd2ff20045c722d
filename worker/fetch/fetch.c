#include "fetch/fetch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "net/download.h"

#define CATALOGUE_BYTES_MAX (1u << 20)
#define SUMS_BYTES_MAX (1u << 20)
#define TRIES 6 /* in a row without a new byte */
#define RESTS_MAX_S 30

static const struct config_option options[] = {
        {"to", CONFIG_TEXT, "DIR", NULL, .help = "fetch into DIR/NAME"},
        {"mirror", CONFIG_TEXT, "URL", NULL, .help = "take NAME/FILE from below this URL instead of the catalogue's places"},
        {"from", CONFIG_TEXT, "DIR", NULL, .help = "offline: copy from DIR/NAME, or from DIR itself"},
        {"catalogue", CONFIG_TEXT, "FILE", SWEEPD_SHARE_DIR "/catalogue.json", .help = "what there is, and where"},
        {"ca", CONFIG_TEXT, "FILE", NULL, .help = "certificates to trust for https"},
        {"list", CONFIG_FLAG, NULL, NULL, .help = "show the catalogue and exit"},
        {NULL},
};

static const struct config_program program = {
        .name = "sweep-worker fetch",
        .usage = "NAME… --to DIR [OPTION…]",
        .summary = "Fetches models and data by name. What was cut off goes on, what is there and whole stays.",
        .options = options,
        .max_positional = 64,
};

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

struct fetch {
        const char *to, *mirror, *from, *ca;
        bool is_terminal;
        time_t shown; /* when progress was printed last */
};

/* One file of an entry. */
struct item {
        const char *entry, *name, *sha256; /* sha256 NULL = unknown */
        const char *url;                   /* its own, or NULL: base and name */
        const char *base;
        char *folder, *path; /* DIR/ENTRY, DIR/ENTRY/FILE; owned */
};

static void item_fini(struct item *item) {
        free(item->folder);
        free(item->path);
}

/* --- names and digests ------------------------------------------------------------------------------- */

/* A name of an entry or file: no separators, not hidden, so that it cannot leave its folder. */
static bool is_plain_name(const char *text) {
        size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
        return n > 0 && n <= 200 && !text[n] && text[0] != '.' && text[0] != '-';
}

static bool is_digest(const char *text) {
        return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static char *sums_path(const struct item *item) {
        return fs_join(item->folder, "SHA256SUMS");
}

/* The digest that an earlier fetch recorded; false when there is none. */
static bool recorded_digest(const struct item *item, char ret[static DIGEST_HEX_SIZE]) {
        _cleanup_free_ char *path = sums_path(item);
        _cleanup_buf_ struct buf text = BUF_INIT(SUMS_BYTES_MAX);
        struct error ignored;
        bool found = false;
        if (!path || fs_read(path, &text, &ignored) < 0 || text.len == 0)
                return false;
        char *rest = text.data;
        for (char *line; (line = strsep(&rest, "\n"));)
                if (strlen(line) > 66 && line[64] == ' ' && strcmp(line + 66, item->name) == 0) {
                        memcpy(ret, line, 64);
                        ret[64] = 0;
                        found = is_digest(ret);
                }
        return found;
}

static int record_digest(const struct item *item, const char *digest, struct error *err) {
        _cleanup_free_ char *path = sums_path(item);
        _cleanup_buf_ struct buf text = BUF_INIT(SUMS_BYTES_MAX);
        struct error ignored;
        char known[DIGEST_HEX_SIZE];
        if (recorded_digest(item, known))
                return 0;
        if (!path)
                return error_set(err, -ENOMEM, "out of memory");
        fs_read(path, &text, &ignored); /* there may be none yet */
        int r = buf_printf(&text, "%s  %s\n", digest, item->name);
        return r < 0 ? error_set(err, r, "%s: too large", path) : fs_write_atomic(path, text.data, text.len, 0644, err);
}

/* The digest that the file must have: the catalogue's, else the recorded one. */
static const char *expected_digest(const struct item *item, char recorded[static DIGEST_HEX_SIZE]) {
        if (item->sha256)
                return item->sha256;
        return recorded_digest(item, recorded) ? recorded : NULL;
}

/* --- one file ---------------------------------------------------------------------------------------- */

static void show_progress(void *data, uint64_t got, uint64_t total) {
        struct fetch *fetch = data;
        time_t now = time(NULL);
        if (!fetch->is_terminal || now == fetch->shown)
                return;
        fetch->shown = now;
        if (total > 0)
                fprintf(stderr, "\r  %.1f of %.1f MB (%.0f %%)  ", (double)got / 1e6, (double)total / 1e6, 100 * (double)got / (double)total);
        else
                fprintf(stderr, "\r  %.1f MB  ", (double)got / 1e6);
}

static char *item_url(const struct fetch *fetch, const struct item *item) {
        char *url = NULL;
        if (fetch->mirror) {
                size_t n = strlen(fetch->mirror);
                while (n > 0 && fetch->mirror[n - 1] == '/')
                        n--;
                return asprintf(&url, "%.*s/%s/%s", (int)n, fetch->mirror, item->entry, item->name) < 0 ? NULL : url;
        }
        if (item->url)
                return strdup(item->url);
        return asprintf(&url, "%s%s", item->base, item->name) < 0 ? NULL : url;
}

static off_t part_size(const struct item *item) {
        _cleanup_free_ char *part = download_part(item->path);
        struct stat st;
        return part && stat(part, &st) == 0 ? st.st_size : 0;
}

/* Until it is whole: after each cut where it was, with rests that grow while nothing comes. */
static int download(struct fetch *fetch, const struct item *item, bool is_known, bool *ret_is_pieced, struct error *err) {
        _cleanup_free_ char *url = item_url(fetch, item);
        if (!url)
                return error_set(err, -ENOMEM, "out of memory");
        const struct download request = {
                .url = url, .path = item->path, .ca_file = fetch->ca, .is_known = is_known, .progress = show_progress, .data = fetch};
        unsigned rest = 1;
        for (int tries = 0;;) {
                off_t before = part_size(item);
                *ret_is_pieced |= before > 0;
                int r = download_file(&request, err);
                if (fetch->is_terminal)
                        fprintf(stderr, "\r\033[K");
                if (r != DOWNLOAD_CUT)
                        return r;
                bool moved = part_size(item) > before;
                tries = moved ? 0 : tries + 1;
                rest = moved ? 1 : rest * 2;
                if (tries >= TRIES)
                        return -EIO;
                fprintf(stderr, "sweep-worker: %s; again in %u s\n", err->text, rest < RESTS_MAX_S ? rest : RESTS_MAX_S);
                sleep(rest < RESTS_MAX_S ? rest : RESTS_MAX_S);
        }
}

static int copy_bytes(int from, int to) {
        char piece[1 << 16];
        ssize_t n;
        while ((n = read(from, piece, sizeof piece)) > 0)
                for (ssize_t done = 0, written; done < n; done += written)
                        if ((written = write(to, piece + done, (size_t)(n - done))) < 0)
                                return -errno;
        return n < 0 ? -errno : 0;
}

static int copy_from_folder(const struct fetch *fetch, const struct item *item, struct error *err) {
        _cleanup_free_ char *inner = fs_join(fetch->from, item->entry), *in_entry = inner ? fs_join(inner, item->name) : NULL,
                            *plain = fs_join(fetch->from, item->name), *part = download_part(item->path);
        if (!in_entry || !plain || !part)
                return error_set(err, -ENOMEM, "out of memory");
        _cleanup_fd_ int from = open(in_entry, O_RDONLY | O_CLOEXEC);
        if (from < 0)
                from = open(plain, O_RDONLY | O_CLOEXEC);
        if (from < 0)
                return error_set(err, -errno, "%s: %s", in_entry, strerror(errno));
        _cleanup_fd_ int to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (to < 0)
                return error_set(err, -errno, "%s: %s", part, strerror(errno));
        int r = copy_bytes(from, to);
        return r < 0 ? error_set(err, r, "%s: %s", part, strerror(-r)) : 0;
}

/* Is the finished file there with the digest it must have? Its digest stands in ret. */
static bool is_whole(const struct item *item, const char *expected, char ret[static DIGEST_HEX_SIZE]) {
        struct error ignored;
        return access(item->path, R_OK) == 0 && digest_file(item->path, ret, &ignored) == 0 && expected && strcmp(ret, expected) == 0;
}

/* Once more from the start when a file of several pieces turns out wrong: its first piece may have been of another version. */
static int obtain(struct fetch *fetch, const struct item *item, const char *expected, char digest[static DIGEST_HEX_SIZE], struct error *err) {
        _cleanup_free_ char *part = download_part(item->path);
        if (!part)
                return error_set(err, -ENOMEM, "out of memory");
        for (int again = 0;; again++) {
                bool is_pieced = false;
                int r = fetch->from ? copy_from_folder(fetch, item, err) : download(fetch, item, expected != NULL, &is_pieced, err);
                if (r == 0)
                        r = digest_file(part, digest, err);
                if (r < 0 || !expected || strcmp(digest, expected) == 0)
                        return r;
                download_forget(item->path);
                if (!is_pieced || again > 0)
                        return error_set(err, -EBADMSG, "%s: SHA-256 is %s and must be %s%s", item->path, digest, expected,
                                         item->sha256 ? "" : " as when it was fetched first (SHA256SUMS)");
        }
}

static int fetch_item(struct fetch *fetch, const struct item *item, struct error *err) {
        char recorded[DIGEST_HEX_SIZE], digest[DIGEST_HEX_SIZE];
        const char *expected = expected_digest(item, recorded);
        if (is_whole(item, expected, digest)) {
                printf("%s/%s: there already\n", item->entry, item->name);
                return record_digest(item, digest, err);
        }
        _cleanup_free_ char *part = download_part(item->path);
        int r = part ? obtain(fetch, item, expected, digest, err) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = record_digest(item, digest, err);
        if (r == 0)
                r = fs_commit(part, item->path, err);
        if (r < 0)
                return r;
        download_forget(item->path);
        printf("%s/%s: %s%s\n", item->entry, item->name, digest, expected ? "" : " (not known before: trusted now, and recorded)");
        return 0;
}

/* --- entries ----------------------------------------------------------------------------------------- */

static int item_init(struct item *item, const struct fetch *fetch, const char *entry, const char *base, const json_t *file, struct error *err) {
        *item = (struct item){.entry = entry,
                              .base = base,
                              .name = json_string_value(json_object_get(file, "name")),
                              .url = json_string_value(json_object_get(file, "url")),
                              .sha256 = json_string_value(json_object_get(file, "sha256"))};
        if (!item->name || !is_plain_name(item->name) || (!item->url && !base) || (item->sha256 && !is_digest(item->sha256)))
                return error_set(err, -EINVAL, "the catalogue's entry '%s' is wrong: each file has a plain name, a url (or its entry a base), maybe a sha256",
                                 entry);
        item->folder = fs_join(fetch->to, entry);
        item->path = item->folder ? fs_join(item->folder, item->name) : NULL;
        if (!item->path)
                return error_set(err, -ENOMEM, "out of memory");
        return fs_make_dirs(item->folder, 0755, err);
}

static int fetch_entry(struct fetch *fetch, const char *name, const json_t *entry, struct error *err) {
        const char *base = json_string_value(json_object_get(entry, "base"));
        const json_t *files = json_object_get(entry, "files");
        for (size_t i = 0; i < json_array_size(files); i++) {
                __attribute__((cleanup(item_fini))) struct item item;
                int r = item_init(&item, fetch, name, base, json_array_get(files, i), err);
                if (r == 0)
                        r = fetch_item(fetch, &item, err);
                if (r < 0)
                        return r;
        }
        const char *what = json_string_value(json_object_get(entry, "what"));
        printf("%s is in %s/%s%s%s%s\n", name, fetch->to, name, what ? " (" : "", what ? what : "", what ? ")" : "");
        return 0;
}

static int read_catalogue(const char *path, json_t **ret, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(CATALOGUE_BYTES_MAX);
        int r = fs_read(path, &text, err);
        if (r == 0)
                r = json_read(text.data ? text.data : "", text.len, ret, err);
        if (r == 0 && !json_is_object(*ret))
                r = error_set(err, -EINVAL, "not an object of names");
        if (r < 0 && !strstr(err->text, path))
                error_prefix(err, "%s", path);
        return r;
}

static void list_catalogue(const json_t *catalogue) {
        const char *name;
        json_t *entry;
        json_object_foreach((json_t *)catalogue, name, entry) {
                const char *what = json_string_value(json_object_get(entry, "what"));
                printf("%-28s %s\n", name, what ? what : "");
        }
}

static int fail(const struct error *err, int code) {
        fprintf(stderr, "sweep-worker: %s\n", err->text);
        return code;
}

static int check_names(const json_t *catalogue, const char *const *names, size_t n, struct error *err) {
        for (size_t i = 0; i < n; i++)
                if (!is_plain_name(names[i]) || !json_object_get(catalogue, names[i]))
                        return error_set(err, -EINVAL, "'%s' is not in the catalogue: --list shows what is", names[i]);
        return 0;
}

int fetch_main(int argc, char **argv) {
        struct error err;
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_json_ json_t *catalogue = NULL;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return 0;
        if (r < 0)
                return fail(&err, 2);
        size_t n;
        const char *const *names = config_positional(config, &n);
        if (read_catalogue(config_text(config, "catalogue"), &catalogue, &err) < 0)
                return fail(&err, 1);
        if (config_flag(config, "list")) {
                list_catalogue(catalogue);
                return 0;
        }
        struct fetch fetch = {.to = config_text(config, "to"),
                              .mirror = config_text(config, "mirror"),
                              .from = config_text(config, "from"),
                              .ca = config_text(config, "ca"),
                              .is_terminal = isatty(STDERR_FILENO)};
        if (n == 0 || !fetch.to || (fetch.mirror && fetch.from)) {
                error_set(&err, -EINVAL, "usage: sweep-worker fetch NAME… --to DIR [--mirror URL | --from DIR]");
                return fail(&err, 2);
        }
        if (check_names(catalogue, names, n, &err) < 0)
                return fail(&err, 2);
        for (size_t i = 0; i < n; i++)
                if (fetch_entry(&fetch, names[i], json_object_get(catalogue, names[i]), &err) < 0)
                        return fail(&err, 1);
        return 0;
}
