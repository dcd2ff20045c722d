#include "web/web.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Images may be made by the page itself (data:, blob: for downloads); no style or script may stand in the HTML. */
const char web_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
                          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const struct web_asset *web_find(const char *name) {
        for (size_t i = 0; i < web_n_assets; i++)
                if (strcmp(web_assets[i].name, name) == 0)
                        return &web_assets[i];
        return NULL;
}

/* Length of the list element at text, up to the comma or the end. */
static size_t element_length(const char *text) {
        return strcspn(text, ",");
}

static bool is_refused(const char *parameters, size_t len) {
        for (size_t i = 0; i + 2 < len; i++)
                if ((parameters[i] == 'q' || parameters[i] == 'Q') && parameters[i + 1] == '=')
                        return strtod(parameters + i + 2, NULL) <= 0;
        return false;
}

bool web_accepts_gzip(const char *accept_encoding) {
        const char *at = accept_encoding ? accept_encoding : "";
        while (*at) {
                at += strspn(at, " \t,");
                size_t len = element_length(at), name = strcspn(at, " \t;,");
                if (name == 4 && strncasecmp(at, "gzip", 4) == 0)
                        return !is_refused(at + name, len - name);
                at += len;
        }
        return false;
}

bool web_matches(const char *if_none_match, const char *etag) {
        const char *at = if_none_match ? if_none_match : "";
        size_t wanted = strlen(etag);
        while (*at) {
                at += strspn(at, " \t,");
                if (*at == '*')
                        return true;
                if (strncmp(at, "W/", 2) == 0)
                        at += 2;
                size_t len = element_length(at);
                if (len >= wanted && strncmp(at, etag, wanted) == 0 && (len == wanted || strchr(" \t", at[wanted])))
                        return true;
                at += len;
        }
        return false;
}
