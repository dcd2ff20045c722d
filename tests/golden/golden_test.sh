#!/bin/sh
# Replays the shared golden data: SWEEPD_SHARED, or the folder `shared` beside the checkout. Without it the test is skipped.
# All training cases on every kernel path, OpenBLAS limited to the same instructions, with one thread and with two, and as
# this processor does it best (oneDNN, where it is there); the full-size batch on two paths; the trajectory on real weights,
# which takes longest, on the best one. $1: golden_replay, $2: fullsize_weights.
shared=${SWEEPD_SHARED:-$SWEEPD_SOURCE_ROOT/../shared}
if [ ! -d "$shared/golden/train" ]; then
        echo "skipped: no golden data at $shared"
        exit 77
fi

# replay KERNELS THREADS ARGUMENT…: only what is wrong is shown. Kernels that this processor lacks are no failure.
replay() {
        kernels=$1 threads=$2
        shift 2
        case $kernels in
        avx512) core=SKYLAKEX ;;
        avx2) core=HASWELL ;;
        generic) core=PRESCOTT ;;
        esac
        lines=$(SWEEPD_KERNELS=$kernels SWEEPD_F32=blas OPENBLAS_CORETYPE=$core "$golden_replay" --threads "$threads" "$@")
        status=$?
        echo "$kernels, $threads threads: $(printf '%s\n' "$lines" | grep -c '"ok":true') ok"
        printf '%s\n' "$lines" | grep '"ok":false'
        [ $status -eq 0 ] || [ $status -eq 77 ]
}

golden_replay=$1
export GOMP_SPINCOUNT=1000 # as sweep-trainer: threads that spin starve each other on a loaded machine
for kernels in avx512 avx2 generic; do
        for threads in 1 2; do
                replay $kernels $threads "$shared"/golden/train/*_* || exit 1
        done
done
for threads in 1 2; do
        lines=$("$golden_replay" --threads $threads "$shared"/golden/train/*_*)
        status=$?
        echo "best, $threads threads: $(printf '%s\n' "$lines" | grep -c '"ok":true') ok"
        printf '%s\n' "$lines" | grep '"ok":false'
        [ $status -eq 0 ] || exit 1
done
if [ -d "$shared/data/models/minilm-l6" ] && [ -d "$shared/data/mrpc/glue" ]; then
        "$1" --real "$shared/golden/real" --model "$shared/data/models/minilm-l6" --data "$shared/data/mrpc/glue" || exit 1
fi
if [ -n "$2" ] && [ -f "$shared/golden/fullsize/expected.json" ]; then
        folder=$(mktemp -d) || exit 1
        trap 'rm -rf "$folder"' EXIT
        "$2" "$folder" && "$1" --fullsize "$folder" "$shared/golden/fullsize/expected.json" || exit 1
        replay avx2 2 --fullsize "$folder" "$shared/golden/fullsize/expected.json" || exit 1
fi
