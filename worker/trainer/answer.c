#include "trainer/answer.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/utf8.h"

#define PIECE_BYTES 65536
#define FLUSH_BYTES (1u << 20) /* answers are written when this much waits, and before each read */

struct conversation {
        int out;
        answer_fn *answer;
        void *user;
        struct buf line; /* what of the current line came in earlier pieces */
        bool too_long;   /* the current line: its rest is dropped */
        struct buf answers;
};

static int flush(struct conversation *conversation) {
        for (size_t at = 0; at < conversation->answers.len;) {
                ssize_t n = write(conversation->out, conversation->answers.data + at, conversation->answers.len - at);
                if (n < 0 && errno != EINTR)
                        return -errno;
                at += n > 0 ? (size_t)n : 0;
        }
        buf_clear(&conversation->answers);
        return 0;
}

static json_t *answer_line(const struct conversation *conversation, const char *line, size_t len, struct error *err) {
        _cleanup_json_ json_t *pair = NULL;
        if (conversation->too_long)
                return error_set(err, -EFBIG, "the line is longer than %u bytes", ANSWER_MAX_LINE_BYTES), NULL;
        if (json_read(line, len, &pair, err) < 0)
                return NULL;
        const json_t *a = json_object_get(pair, "a"), *b = json_object_get(pair, "b");
        if (!json_is_string(a) || !json_is_string(b))
                return error_set(err, -EINVAL, "expected an object with the texts \"a\" and \"b\""), NULL;
        return conversation->answer(conversation->user, json_string_value(a), json_string_length(a), json_string_value(b),
                                    json_string_length(b), err);
}

static int end_line(struct conversation *conversation, const char *line, size_t len) {
        struct error err = {0};
        _cleanup_json_ json_t *value = answer_line(conversation, line, len, &err);
        /* The text may quote the line and be cut inside a character. */
        if (!value)
                value = json_pack("{s:s%}", "error", err.text, utf8_span(err.text, strlen(err.text)));
        conversation->too_long = false;
        buf_clear(&conversation->line);
        int r = value ? json_write(value, &conversation->answers) : -ENOMEM;
        if (r == 0)
                r = buf_puts(&conversation->answers, "\n");
        return r == 0 && conversation->answers.len >= FLUSH_BYTES ? flush(conversation) : r;
}

static int keep_part(struct conversation *conversation, const char *part, size_t len) {
        int r = conversation->too_long ? 0 : buf_append(&conversation->line, part, len);
        if (r == -EFBIG) {
                conversation->too_long = true;
                buf_clear(&conversation->line);
                r = 0;
        }
        return r;
}

static int take_piece(struct conversation *conversation, const char *piece, size_t len) {
        int r = 0;
        for (const char *end; r == 0 && (end = memchr(piece, '\n', len)); len -= (size_t)(end + 1 - piece), piece = end + 1) {
                if (conversation->line.len == 0 && !conversation->too_long) {
                        r = end_line(conversation, piece, (size_t)(end - piece));
                        continue;
                }
                r = keep_part(conversation, piece, (size_t)(end - piece));
                if (r == 0)
                        r = end_line(conversation, conversation->line.data, conversation->line.len);
        }
        return r < 0 ? r : keep_part(conversation, piece, len);
}

static int answer_all(struct conversation *conversation, int in) {
        _cleanup_free_ char *piece = malloc(PIECE_BYTES);
        if (!piece)
                return -ENOMEM;
        for (;;) {
                int r = flush(conversation);
                if (r < 0)
                        return r;
                ssize_t n = read(in, piece, PIECE_BYTES);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        r = n < 0 ? -errno : 0;
                        if (r == 0 && (conversation->line.len > 0 || conversation->too_long))
                                r = end_line(conversation, conversation->line.data, conversation->line.len);
                        return r < 0 ? r : flush(conversation);
                }
                r = take_piece(conversation, piece, (size_t)n);
                if (r < 0)
                        return r;
        }
}

int answer_pairs(int in, int out, answer_fn *answer, void *user, struct error *err) {
        struct conversation conversation = {
                .out = out, .answer = answer, .user = user, .line = BUF_INIT(ANSWER_MAX_LINE_BYTES), .answers = BUF_INIT(0)};
        int r = answer_all(&conversation, in);
        buf_fini(&conversation.line);
        buf_fini(&conversation.answers);
        return r < 0 ? error_set(err, r, "cannot answer on standard output: %s", strerror(-r)) : 0;
}
