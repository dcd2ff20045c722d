#!/usr/bin/env python3
"""Writes unicode_table.c: what BERT's uncased normalisation makes of every code point.

usage: unicode_table.py SLOW.tsv FAST.tsv > unicode_table.c

SLOW.tsv and FAST.tsv hold lines `first TAB last TAB class` (hex, inclusive): what Hugging Face's slow and fast
tokenizers make of "a" + c + "b", observed for every code point but the surrogates. The classes are removed (ab), space
(a b), keep (acb), isolate (a c b) and `map`, the resulting words as code points joined by '-'.

A code point alone does not show how combining marks sort among each other (canonical ordering, part of NFD). That
comes from Python's unicodedata, which must be Unicode 14 (Python 3.11) as the slow tokenizer's tables are. The fast
one decomposes by Unicode 9 but knows the categories of Unicode 8: NEW_IN_9 and NEWER_THAN_9 say where that shows.
"""
import sys
import unicodedata

KEEP, REMOVE, BARRIER, SPACE, ISOLATE, HANGUL, FIRST_MAP = range(7)
HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
SURROGATES = range(0xD800, 0xE000)

# Nonspacing marks of Unicode 9: the fast tokenizer sorts them but does not take them for marks, so they stay.
NEW_IN_9 = [*range(0x8D4, 0x8E2), 0x1DFB, 0x11442, 0x11446, 0x11C3F, *range(0x1E000, 0x1E02B), *range(0x1E944, 0x1E94B)]
# Spacing marks with a combining class that Unicode 9 does not know (U+1734 was a nonspacing mark).
NEWER_THAN_9 = [0x1715, 0x1734, 0x16FF0, 0x16FF1, 0x1193D]


def read(path):
    """code point -> (class, sequence or None)"""
    classes = {}
    for line in open(path, encoding="ascii"):
        if line.startswith("#"):
            continue
        first, last, kind = line.rstrip("\n").split("\t")
        for point in range(int(first, 16), int(last, 16) + 1):
            classes[point] = kind
    return classes


def hangul(point):
    s = point - 0xAC00
    parts = [0x1100 + s // 588, 0x1161 + s % 588 // 28] + ([0x11A7 + s % 28] if s % 28 else [])
    return "map " + "-".join("%X" % p for p in [0x61, *parts, 0x62])


def is_barrier(point):
    """A nonspacing mark that is removed only after sorting, and that marks do not move across."""
    decomposed = unicodedata.normalize("NFD", chr(point))
    return unicodedata.category(chr(point)) == "Mn" and not all(unicodedata.combining(c) for c in decomposed)


class Maps:
    """Sequences of code points, each stored once: length (bit 8: a word of its own), then the code points."""

    def __init__(self):
        self.words, self.at = [], {}

    def add(self, kind):
        words = [[int(p, 16) for p in word.split("-")] for word in kind[4:].split(" ")]
        if len(words) == 1:
            assert words[0][0] == 0x61 and words[0][-1] == 0x62
            sequence, flag = words[0][1:-1], 0
        else:
            assert [words[0], words[2]] == [[0x61], [0x62]] and len(words) == 3
            sequence, flag = words[1], 256
        assert unicodedata.combining(chr(sequence[0])) == 0
        key = (flag, *sequence)
        if key not in self.at:
            self.at[key] = len(self.words) + FIRST_MAP
            self.words += [flag | len(sequence), *sequence]
        return self.at[key]


def encode(classes, maps):
    kinds = []
    for point in range(0x110000):
        if point in SURROGATES:
            kinds.append(HANGUL if kinds[-1] == HANGUL else KEEP)
            continue
        kind = classes[point]
        if point in HANGUL_SYLLABLES:
            assert kind == hangul(point), hex(point)
            kinds.append(HANGUL)
        elif kind.startswith("map "):
            kinds.append(maps.add(kind))
        elif kind == "removed" and is_barrier(point):
            kinds.append(BARRIER)
        else:
            kinds.append({"keep": KEEP, "removed": REMOVE, "space": SPACE, "isolate": ISOLATE}[kind])
    return kinds


def combining(kinds, maps, fast):
    """The nonzero combining classes of what can appear in the output."""
    classes = {}
    outputs = {p for p in range(0x110000) if kinds[p] == KEEP and p not in SURROGATES} | set(maps.words)
    for point in outputs:
        known = unicodedata.category(chr(point)) == "Mc" and not (fast and point in NEWER_THAN_9)
        if unicodedata.combining(chr(point)) and (known or (fast and point in NEW_IN_9)):
            classes[point] = unicodedata.combining(chr(point))
    return classes


def rows(items, width=136):
    line = "       "
    for item in items:
        if len(line) + len(item) + 2 > width:
            yield line
            line = "       "
        line += " " + item + ","
    yield line


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs Unicode 14 (Python 3.11)"
    maps = Maps()
    slow, fast = encode(read(sys.argv[1]), maps), encode(read(sys.argv[2]), maps)
    assert slow[:128] == fast[:128] and len(maps.words) + FIRST_MAP < 65536
    ranges = [p for p in range(0x110000) if p == 0 or (fast[p], slow[p]) != (fast[p - 1], slow[p - 1])]
    slow_classes, fast_classes = combining(slow, maps, False), combining(fast, maps, True)
    marks = sorted({*slow_classes, *fast_classes})
    print("/* Made by unicode_table.py. Do not edit. */")
    print('#include "token/unicode.h"\n')
    print("const uint16_t unicode_ascii[128] = {", *rows("%d" % k for k in slow[:128]), "};\n", sep="\n")
    print("const struct unicode_range unicode_ranges[] = {")
    print(*rows("{%d,{%d,%d}}" % (p, fast[p], slow[p]) for p in ranges), "};", sep="\n")
    print("const size_t unicode_n_ranges = sizeof unicode_ranges / sizeof *unicode_ranges;\n")
    print("const uint32_t unicode_maps[] = {", *rows("%d" % w for w in maps.words), "};\n", sep="\n")
    print("const struct unicode_mark unicode_marks[] = {")
    print(*rows("{%d,{%d,%d}}" % (p, fast_classes.get(p, 0), slow_classes.get(p, 0)) for p in marks), "};", sep="\n")
    print("const size_t unicode_n_marks = sizeof unicode_marks / sizeof *unicode_marks;")


if __name__ == "__main__":
    main()
