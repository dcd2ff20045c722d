/* One file by HTTP(S), resumable: bytes go to PATH.part, which a later call goes on with. Blocking; any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define DOWNLOAD_BYTES_MAX (UINT64_C(64) << 30)
#define DOWNLOAD_REDIRECTS_MAX 5

struct download {
        const char *url;     /* http or https; a redirect from https never leads to http */
        const char *path;    /* of the finished file; its folder exists */
        const char *ca_file; /* NULL = the system's */
        /* Is any part of the file good to go on with, whatever server it came from? True where its digest is known; else
         * only a part with the server's own mark (ETag) is, and the server is asked whether it still holds. */
        bool is_known;
        void (*progress)(void *data, uint64_t got, uint64_t total); /* total 0 = unknown; NULL = no one looks */
        void *data;
};

/* 0: PATH.part is the whole file, synced · DOWNLOAD_CUT: what came is kept, call again · negative: no use trying again
 * (-ENOENT: 404, 410; -ENOSPC; -EPROTO: an answer that makes no sense). */
#define DOWNLOAD_CUT 1
int download_file(const struct download *download, struct error *err);

/* "PATH.part", allocated; removes the mark that stands beside it too. */
char *download_part(const char *path);
void download_forget(const char *path);
