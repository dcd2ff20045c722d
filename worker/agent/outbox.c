#include "agent/outbox.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)
#define _cleanup_dir_ _cleanup_(cleanup_dir)

static bool is_parcel_name(const char *name) {
        size_t len = strlen(name);
        return name[0] != '.' && len > 5 && strcmp(name + len - 5, ".json") == 0;
}

static size_t count_parcels(const char *folder) {
        _cleanup_dir_ DIR *dir = opendir(folder);
        size_t n = 0;
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                n += is_parcel_name(entry->d_name);
        return n;
}

static bool is_parcel(const json_t *parcel) {
        const json_t *reports = json_object_get(parcel, "reports");
        bool good = json_is_string(json_object_get(parcel, "trial")) && json_array_size(reports) > 0;
        for (size_t i = 0; i < json_array_size(reports); i++)
                good = good && json_is_string(json_object_get(json_array_get(reports, i), "lease"));
        return good;
}

int outbox_put(const char *folder, const json_t *parcel, char **ret_name, struct error *err) {
        if (count_parcels(folder) >= OUTBOX_PARCELS_MAX)
                return error_set(err, -ENOSPC, "the outbox %s is full", folder);
        const char *lease = json_string_value(json_object_get(json_array_get(json_object_get(parcel, "reports"), 0), "lease"));
        char digest[DIGEST_HEX_SIZE];
        digest_bytes(lease, strlen(lease), digest); /* a lease is a secret and may hold any character */
        _cleanup_free_ char *name = NULL, *path = NULL, *text = json_text(parcel);
        if (asprintf(&name, "%s-%.16s.json", json_string_value(json_object_get(parcel, "trial")), digest) < 0)
                name = NULL;
        path = name ? fs_join(folder, name) : NULL;
        if (!path || !text)
                return error_set(err, -ENOMEM, "out of memory");
        int r = fs_write_atomic(path, text, strlen(text), 0600, err);
        if (r == 0)
                *ret_name = TAKE(name);
        return r;
}

void outbox_remove(const char *folder, const char *name) {
        _cleanup_free_ char *path = fs_join(folder, name);
        if (path && unlink(path) < 0 && errno != ENOENT)
                log_warning("cannot remove a delivered result", log_s("path", path), log_s("why", strerror(errno)));
}

static void set_aside(const char *path, const struct error *err) {
        _cleanup_free_ char *aside = NULL;
        log_error("a result in the outbox cannot be read", log_s("path", path), log_s("why", err->text));
        if (asprintf(&aside, "%s.unreadable", path) < 0 || rename(path, aside) < 0)
                log_error("cannot set it aside", log_s("path", path));
}

json_t *outbox_load(const char *folder) {
        _cleanup_dir_ DIR *dir = opendir(folder);
        json_t *parcels = json_object();
        for (struct dirent *entry; dir && parcels && (entry = readdir(dir));) {
                if (!is_parcel_name(entry->d_name) || json_object_size(parcels) >= OUTBOX_PARCELS_MAX)
                        continue;
                _cleanup_free_ char *path = fs_join(folder, entry->d_name);
                _cleanup_buf_ struct buf text = BUF_INIT(OUTBOX_PARCEL_BYTES_MAX);
                _cleanup_json_ json_t *parcel = NULL;
                struct error err = {.text = "not a parcel"};
                if (!path)
                        continue;
                int r = fs_read(path, &text, &err);
                bool is_read = r == 0;
                if (is_read)
                        r = json_read(text.data, text.len, &parcel, &err);
                if (is_read ? r == -ENOMEM : r < 0 && r != -EFBIG)
                        log_error("a result in the outbox waits for the next start", log_s("why", err.text));
                else if (r < 0 || !is_parcel(parcel))
                        set_aside(path, &err);
                else
                        json_object_set(parcels, entry->d_name, parcel);
        }
        return parcels;
}
