#!/bin/sh
# Replays all training cases, and the trajectory on real weights, of the shared golden data: SWEEPD_SHARED, or the folder
# `shared` beside the checkout. Without it the test is skipped. $1: golden_replay.
shared=${SWEEPD_SHARED:-$SWEEPD_SOURCE_ROOT/../shared}
if [ ! -d "$shared/golden/train" ]; then
        echo "skipped: no golden data at $shared"
        exit 77
fi
"$1" "$shared"/golden/train/*_* || exit 1
if [ -d "$shared/data/models/minilm-l6" ] && [ -d "$shared/data/mrpc/glue" ]; then
        "$1" --real "$shared/golden/real" --model "$shared/data/models/minilm-l6" --data "$shared/data/mrpc/glue" || exit 1
fi
if [ -n "$2" ] && [ -f "$shared/golden/fullsize/expected.json" ]; then
        folder=$(mktemp -d) || exit 1
        trap 'rm -rf "$folder"' EXIT
        "$2" "$folder" && "$1" --fullsize "$folder" "$shared/golden/fullsize/expected.json" || exit 1
fi
