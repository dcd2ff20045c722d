#include "proto/route.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/limits.h"

#define ROUTE_INFO(id, method, path, role) {method, path, role},
static const struct route_info table[N_ROUTES] = {ROUTES(ROUTE_INFO)};

const struct route_info *route_info(enum route route) {
        return &table[route];
}

/* Length of the id segment that starts at text: 1–40 characters that need no escape in a URL; 0 otherwise. */
static size_t id_length(const char *text) {
        size_t n = 0;
        while (isalnum((unsigned char)text[n]) || (text[n] && strchr("-_.~", text[n])))
                n++;
        return n <= LIMIT_ID_CHARS && (text[n] == '/' || !text[n]) ? n : 0;
}

/* Does path fit the pattern of a route? Fills ret_id when the pattern has {id}. */
static bool path_matches(const char *pattern, const char *path, char ret_id[static 41]) {
        ret_id[0] = 0;
        const char *hole = strstr(pattern, "{id}");
        if (!hole)
                return strcmp(pattern, path) == 0;
        size_t before = (size_t)(hole - pattern);
        if (strncmp(pattern, path, before) != 0)
                return false;
        size_t len = id_length(path + before);
        if (len == 0 || strcmp(hole + strlen("{id}"), path + before + len) != 0)
                return false;
        memcpy(ret_id, path + before, len);
        ret_id[len] = 0;
        return true;
}

static void allow_add(char allow[static 64], const char *method) {
        size_t n = strlen(allow);
        snprintf(allow + n, 64 - n, "%s%s", n ? ", " : "", method);
}

int route_match(const char *method, const char *path, enum route *ret_route, char ret_id[static 41], char ret_allow[static 64]) {
        char id[41], allow[64] = "";
        const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
        for (int route = 0; route < N_ROUTES; route++) {
                if (!path_matches(table[route].path, path, id))
                        continue;
                if (strcmp(table[route].method, wanted) == 0) {
                        *ret_route = (enum route)route;
                        memcpy(ret_id, id, sizeof id);
                        return 0;
                }
                allow_add(allow, table[route].method);
                if (strcmp(table[route].method, "GET") == 0)
                        allow_add(allow, "HEAD");
        }
        if (!allow[0])
                return ROUTE_UNKNOWN_PATH;
        memcpy(ret_allow, allow, sizeof allow);
        return ROUTE_WRONG_METHOD;
}

bool role_allows(enum role have, enum role need) {
        return need == ROLE_NONE || have == need || have == ROLE_ADMIN;
}
