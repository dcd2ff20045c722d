/* Meanings, and sentences that say them.
 *
 * What makes the pairs neither trivial nor hopeless: words that agree are no proof (a negative pair keeps most of its
 * words, as MRPC's do), and words that differ are none either (synonyms, dropped or exchanged modifiers in positive ones).
 * Only a core sense that has no partner in the other sentence decides. */
#include "demo/corpus.h"

#include <stdbool.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/fs.h"
#include "common/rng.h"
#include "demo/words.h"

#define MAX_FILE_BYTES (1u << 20)
#define PERCENT_PARAPHRASES 67
#define PERCENT_WRONG_LABELS 2
#define ABSENT (-1)

/* A sense number for each role; modifiers may be absent. */
struct meaning {
        int sense[N_ROLES];
};

static const enum role core[] = {AGENT, VERB, OBJECT, PLACE};
static const enum role modifiers[] = {TIME, ADJECTIVE, ADVERB};

static bool chance(struct rng *rng, unsigned percent) {
        return rng_below(rng, 100) < percent;
}

static int draw_sense(struct rng *rng, enum role role) {
        return (int)(senses_first(role) + rng_below(rng, senses_count(role)));
}

static int draw_other(struct rng *rng, enum role role, int than) {
        int sense;
        do
                sense = draw_sense(rng, role);
        while (sense == than);
        return sense;
}

static struct meaning draw_meaning(struct rng *rng) {
        struct meaning m;
        for (size_t i = 0; i < sizeof core / sizeof *core; i++)
                m.sense[core[i]] = draw_sense(rng, core[i]);
        for (size_t i = 0; i < sizeof modifiers / sizeof *modifiers; i++)
                m.sense[modifiers[i]] = chance(rng, 60) ? draw_sense(rng, modifiers[i]) : ABSENT;
        return m;
}

/* What an editor does without changing the statement: drop, add or exchange a modifier. */
static void vary_modifiers(struct rng *rng, struct meaning *m) {
        for (size_t i = 0; i < sizeof modifiers / sizeof *modifiers; i++) {
                enum role role = modifiers[i];
                if (chance(rng, 65))
                        continue;
                if (m->sense[role] != ABSENT && chance(rng, 50))
                        m->sense[role] = ABSENT;
                else
                        m->sense[role] = draw_other(rng, role, m->sense[role]);
        }
}

/* One or two core senses become others. */
static void change_statement(struct rng *rng, struct meaning *m) {
        size_t n_core = sizeof core / sizeof *core, first = rng_below(rng, n_core);
        m->sense[core[first]] = draw_other(rng, core[first], m->sense[core[first]]);
        if (chance(rng, 50))
                return;
        enum role role = core[(first + 1 + rng_below(rng, n_core - 1)) % n_core];
        m->sense[role] = draw_other(rng, role, m->sense[role]);
}

/* --- sentences -------------------------------------------------------------------------------------- */

/* A word, after a space unless it is the first of its column. */
static int put_word(struct buf *buf, const char *word) {
        return buf_printf(buf, "%s%s", buf->data[buf->len - 1] == '\t' ? "" : " ", word);
}

static int put_sense(struct buf *buf, struct rng *rng, const struct meaning *m, enum role role) {
        if (m->sense[role] == ABSENT)
                return 0;
        return put_word(buf, senses[m->sense[role]].words[rng_below(rng, N_SYNONYMS)]);
}

static int put_agent(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_word(buf, "the");
        return r ? r : put_sense(buf, rng, m, AGENT);
}

static int put_verb(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_sense(buf, rng, m, ADVERB);
        return r ? r : put_sense(buf, rng, m, VERB);
}

static int put_object(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_word(buf, "the");
        r = r ? r : put_sense(buf, rng, m, ADJECTIVE);
        return r ? r : put_sense(buf, rng, m, OBJECT);
}

static int put_place(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_word(buf, chance(rng, 50) ? "in" : "at");
        r = r ? r : put_word(buf, "the");
        return r ? r : put_sense(buf, rng, m, PLACE);
}

/* "the firm quickly bought the old mill" */
static int put_active(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_agent(buf, rng, m);
        r = r ? r : put_verb(buf, rng, m);
        return r ? r : put_object(buf, rng, m);
}

/* "the old mill was quickly bought by the firm" */
static int put_passive(struct buf *buf, struct rng *rng, const struct meaning *m) {
        int r = put_object(buf, rng, m);
        r = r ? r : put_word(buf, "was");
        r = r ? r : put_verb(buf, rng, m);
        r = r ? r : put_word(buf, "by");
        return r ? r : put_agent(buf, rng, m);
}

/* The sentence as a column of its own; time or place may come first, before a comma. */
static int put_sentence(struct buf *buf, struct rng *rng, const struct meaning *m) {
        bool time_first = m->sense[TIME] != ABSENT && chance(rng, 50), place_first = !time_first && chance(rng, 30);
        int r = buf_puts(buf, "\t");
        if (!r && time_first)
                r = put_sense(buf, rng, m, TIME);
        if (!r && place_first)
                r = put_place(buf, rng, m);
        if (!r && (time_first || place_first))
                r = put_word(buf, ",");
        if (!r)
                r = chance(rng, 40) ? put_passive(buf, rng, m) : put_active(buf, rng, m);
        if (!r && !place_first)
                r = put_place(buf, rng, m);
        if (!r && !time_first)
                r = put_sense(buf, rng, m, TIME);
        return r ? r : put_word(buf, ".");
}

static int put_pair(struct buf *buf, struct rng *rng, int number) {
        struct meaning first = draw_meaning(rng), second = first;
        bool same = chance(rng, PERCENT_PARAPHRASES);
        if (!same)
                change_statement(rng, &second);
        vary_modifiers(rng, &second);
        bool label = chance(rng, PERCENT_WRONG_LABELS) ? !same : same;
        int r = buf_printf(buf, "%d\t%d\t%d", label, 2 * number + 1, 2 * number + 2);
        r = r ? r : put_sentence(buf, rng, &first);
        r = r ? r : put_sentence(buf, rng, &second);
        return r ? r : buf_puts(buf, "\n");
}

int corpus_write(const char *path, int n, uint64_t seed, uint64_t stream, struct error *err) {
        _cleanup_buf_ struct buf buf = BUF_INIT(MAX_FILE_BYTES);
        struct rng rng;
        rng_init(&rng, seed, stream);
        int r = buf_puts(&buf, "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n");
        for (int i = 0; !r && i < n; i++)
                r = put_pair(&buf, &rng, i);
        if (r)
                return error_set(err, r, "%s: does not fit in memory", path);
        return fs_write_atomic(path, buf.data, buf.len, 0644, err);
}
