/* A vocabulary, then after a 0xFF byte two texts, cut by another one; and the texts with a sound vocabulary. */
#include <string.h>

#include "fuzz.h"
#include "token/token.h"

#define LENGTH 32

static void encode(const char *vocabulary, const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
        struct tokenizer *tokenizer = NULL;
        struct error err;
        if (tokenizer_open(vocabulary, &tokenizer, &err) < 0)
                return;
        for (int mode = TRUNCATION_HF_FAST; mode <= TRUNCATION_HF_SLOW; mode++)
                for (size_t max = 3; max <= LENGTH; max += 29) {
                        int32_t ids[LENGTH];
                        size_t n = 0;
                        if (tokenizer_encode_pair(tokenizer, (enum truncation)mode, (const char *)a, a_len, (const char *)b, b_len, max, ids, &n, &err) < 0)
                                continue;
                        fuzz_assert(n <= max);
                        for (size_t i = 0; i < n; i++)
                                fuzz_assert(ids[i] >= 0 && (size_t)ids[i] < tokenizer_vocab_size(tokenizer));
                }
        tokenizer_free(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char sound[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nthe\n.\n,\n##é\n中\n";
        size_t vocabulary_len, rest_len, a_len, b_len;
        const uint8_t *rest = fuzz_cut(data, size, &vocabulary_len, &rest_len), *b = fuzz_cut(rest, rest_len, &a_len, &b_len);
        encode(fuzz_file(data, vocabulary_len), rest, a_len, b, b_len);
        encode(fuzz_second_file((const uint8_t *)sound, sizeof sound - 1), rest, a_len, b, b_len);
        return 0;
}
