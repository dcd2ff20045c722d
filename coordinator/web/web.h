/* The web page: its files as the program carries them. Made by embed.py at build time; constant. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct web_asset {
        const char *name, *type;
        const char *etag; /* quoted, of the content */
        const char *data;
        size_t len;
        const char *gzip; /* the same, compressed */
        size_t gzip_len;
        bool fixed; /* the name carries a version: what it stands for never changes */
};

extern const struct web_asset web_assets[];
extern const size_t web_n_assets;

/* What browsers may do with the page: run and show what this server sends, talk to this server, nothing else. */
extern const char web_policy[];

/* "index.html", "app.js"; NULL when there is none. */
const struct web_asset *web_find(const char *name);

/* Does an Accept-Encoding header (NULL = none) allow gzip? */
bool web_accepts_gzip(const char *accept_encoding);

/* Does an If-None-Match header (NULL = none) name this entity tag? */
bool web_matches(const char *if_none_match, const char *etag);
