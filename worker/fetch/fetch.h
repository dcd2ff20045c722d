/* `sweep-worker fetch NAME… --to DIR`: models and data sets by name, from the places that a catalogue lists.
 *
 * A file whose SHA-256 the catalogue knows is held to it. Any other is trusted on first use: its digest goes into
 * DIR/NAME/SHA256SUMS (as sha256sum writes them), and a later fetch must find the same. Files appear whole or not at all. */
#pragma once

/* argv after "fetch". Exit status: 0 all there · 1 failed · 2 wrong usage. */
int fetch_main(int argc, char **argv);
