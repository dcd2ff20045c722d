#include "token_source.h"

#include "store/store.h"

struct relay {
        int (*visit)(void *visitor, const struct token_info *info);
        void *visitor;
};

static int relay_row(void *data, const struct token_row *row) {
        const struct relay *relay = data;
        const struct token_info info = {.name = row->name, .role = row->role, .hash = row->hash, .sweep = row->sweep, .expires_ms = row->expires_ms};
        return relay->visit(relay->visitor, &info);
}

static int changes(void *data, int64_t *ret) {
        return store_token_changes(data, ret);
}

static int each(void *data, int (*visit)(void *visitor, const struct token_info *info), void *visitor) {
        struct relay relay = {visit, visitor};
        return store_token_each(data, relay_row, &relay);
}

struct token_source token_source_of(struct store *store) {
        return (struct token_source){.changes = changes, .each = each, .data = store};
}
