/* The trie's edges lie in one hash table, keyed by (node, code point): 30522 tokens make some 70 000 nodes, and a child
 * is found in one or two cache lines whatever its parent's fan-out. */
#include "token/vocab.h"

#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/utf8.h"

#define MAX_FILE_BYTES (16u << 20)

struct edge {
        uint64_t key; /* node << 21 | code point; a child is never node 0, so child 0 marks a free place */
        uint32_t child;
};

struct vocab {
        struct edge *edges; /* hash table, open addressing, at most half full */
        size_t n_places;    /* power of two */
        int32_t *ids;       /* [n_nodes]: token that ends at the node, or -1 */
        size_t n_nodes, cap_nodes;
        size_t n_tokens;
        uint32_t continuation; /* node of "##", 0 when no token starts so */
        int32_t specials[N_SPECIALS];
};

static size_t place_of(const struct vocab *vocab, uint64_t key) {
        size_t place = (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (vocab->n_places - 1);
        while (vocab->edges[place].child && vocab->edges[place].key != key)
                place = (place + 1) & (vocab->n_places - 1);
        return place;
}

static uint32_t child_of(const struct vocab *vocab, uint32_t node, uint32_t point) {
        return vocab->edges[place_of(vocab, (uint64_t)node << 21 | point)].child;
}

static int grow_edges(struct vocab *vocab) {
        struct vocab old = *vocab;
        vocab->n_places = old.n_places ? old.n_places * 2 : 1024;
        vocab->edges = calloc(vocab->n_places, sizeof *vocab->edges);
        if (!vocab->edges) {
                vocab->edges = old.edges;
                vocab->n_places = old.n_places;
                return -ENOMEM;
        }
        for (size_t i = 0; i < old.n_places; i++)
                if (old.edges[i].child)
                        vocab->edges[place_of(vocab, old.edges[i].key)] = old.edges[i];
        free(old.edges);
        return 0;
}

static int add_node(struct vocab *vocab, uint32_t *ret) {
        if (vocab->n_nodes == vocab->cap_nodes) {
                size_t cap = vocab->cap_nodes ? vocab->cap_nodes * 2 : 1024;
                int32_t *ids = realloc(vocab->ids, cap * sizeof *ids);
                if (!ids)
                        return -ENOMEM;
                vocab->ids = ids;
                vocab->cap_nodes = cap;
        }
        vocab->ids[vocab->n_nodes] = -1;
        *ret = (uint32_t)vocab->n_nodes++;
        return 0;
}

/* The child, made when it is not there. */
static int step(struct vocab *vocab, uint32_t *node, uint32_t point) {
        uint32_t child = child_of(vocab, *node, point);
        if (child == 0) {
                int r = 2 * (vocab->n_nodes + 1) > vocab->n_places ? grow_edges(vocab) : 0;
                if (r == 0)
                        r = add_node(vocab, &child);
                if (r < 0)
                        return r;
                uint64_t key = (uint64_t)*node << 21 | point;
                vocab->edges[place_of(vocab, key)] = (struct edge){.key = key, .child = child};
        }
        *node = child;
        return 0;
}

static int add_token(struct vocab *vocab, const char *path, const char *token, size_t len, struct error *err) {
        uint32_t node = 0;
        size_t line = ++vocab->n_tokens;
        for (size_t at = 0; at < len;) {
                uint32_t point;
                int n = utf8_decode(token + at, len - at, &point);
                if (n < 0)
                        return error_set(err, -EINVAL, "%s:%zu: not valid UTF-8", path, line);
                at += (size_t)n;
                if (step(vocab, &node, point) < 0)
                        return error_set(err, -ENOMEM, "out of memory reading %s", path);
        }
        if (len > 0 && vocab->ids[node] >= 0)
                return error_set(err, -EINVAL, "%s:%zu: token '%.*s' is there already, on line %d", path, line,
                                 (int)(len < 100 ? len : 100), token, vocab->ids[node] + 1);
        if (len > 0)
                vocab->ids[node] = (int32_t)(line - 1);
        return 0;
}

/* LF ends a line, a CR before it is stripped. An empty line has a number and no token. */
static int read_tokens(struct vocab *vocab, const char *path, const struct buf *text, struct error *err) {
        for (size_t at = 0; at < text->len;) {
                const char *line = text->data + at;
                const char *end = memchr(line, '\n', text->len - at);
                size_t len = end ? (size_t)(end - line) : text->len - at;
                at += len + 1;
                if (len > 0 && line[len - 1] == '\r')
                        len--;
                int r = add_token(vocab, path, line, len, err);
                if (r < 0)
                        return r;
        }
        return vocab->n_tokens > 0 ? 0 : error_set(err, -EINVAL, "%s: empty", path);
}

static int find_specials(struct vocab *vocab, const char *path, struct error *err) {
        for (int i = 0; i < N_SPECIALS; i++) {
                uint32_t node = 0;
                for (const char *c = special_names[i]; *c; c++)
                        if ((node = child_of(vocab, node, (uint32_t)*c)) == 0)
                                break;
                if (node == 0 || vocab->ids[node] < 0)
                        return error_set(err, -EINVAL, "%s: token %s is missing", path, special_names[i]);
                vocab->specials[i] = vocab->ids[node];
        }
        uint32_t hash = child_of(vocab, 0, '#');
        vocab->continuation = hash ? child_of(vocab, hash, '#') : 0;
        return 0;
}

int vocab_open(const char *path, struct vocab **ret, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_FILE_BYTES);
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        struct vocab *vocab = calloc(1, sizeof *vocab);
        uint32_t root;
        if (!vocab || grow_edges(vocab) < 0 || add_node(vocab, &root) < 0)
                r = error_set(err, -ENOMEM, "out of memory reading %s", path);
        if (r == 0)
                r = read_tokens(vocab, path, &text, err);
        if (r == 0)
                r = find_specials(vocab, path, err);
        if (r < 0) {
                vocab_close(vocab);
                return r;
        }
        *ret = vocab;
        return 0;
}

void vocab_close(struct vocab *vocab) {
        if (!vocab)
                return;
        free(vocab->edges);
        free(vocab->ids);
        free(vocab);
}

size_t vocab_size(const struct vocab *vocab) {
        return vocab->n_tokens;
}

int32_t vocab_special(const struct vocab *vocab, enum special special) {
        return vocab->specials[special];
}

size_t vocab_match(const struct vocab *vocab, const uint32_t *points, size_t n, bool continuation, int32_t *ret_id) {
        uint32_t node = continuation ? vocab->continuation : 0;
        size_t longest = 0;
        if (continuation && node == 0)
                return 0;
        for (size_t i = 0; i < n; i++) {
                node = child_of(vocab, node, points[i]);
                if (node == 0)
                        break;
                if (vocab->ids[node] >= 0) {
                        longest = i + 1;
                        *ret_id = vocab->ids[node];
                }
        }
        return longest;
}
