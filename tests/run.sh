#!/bin/bash
# The whole test suite from a fresh clone on Debian 12, as root or with sudo. The last line is "N passed, N failed, N skipped".
#
#   tests/run.sh            everything: under 15 minutes on 2 cores
#   tests/run.sh --quick    no sanitizer builds
#   options: --no-install (leave packages alone)
#
# Stages, each with its own build folder under build-tests/ (kept, so that a second run is quick):
#   plain    warnings are errors; unit tests, then integration and fault tests against an installed copy
#   address  address and undefined behaviour sanitizers; unit and integration tests
#   thread   thread sanitizer; the coordinator's unit tests, and the integration tests marked `coordinator`
#
# What the Python tests get: SWEEPD_PREFIX (the installed copy), SWEEPD_SOURCE_ROOT, SWEEPD_BUILD (its build folder) and
# SWEEPD_SANITIZE ("", "address,undefined" or "thread"; allow more time where it is not empty).
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1

# Debian's own python3 and meson, whatever else comes first on the caller's PATH.
export PATH="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:$PATH"
export LC_ALL=C.UTF-8

quick=false install=true
for argument in "$@"; do
        case $argument in
        --quick) quick=true ;;
        --no-install) install=false ;;
        --help)
                sed -n '2,15s/^# \{0,1\}//p' "$0"
                exit 0
                ;;
        *)
                echo "unknown option: $argument (try --help)" >&2
                exit 2
                ;;
        esac
done

out=$root/build-tests
results=$out/results
rm -rf "$results"
mkdir -p "$results"

coordinator_suites="common proto sweep opt plan store api http"

say() {
        printf '\n=== %s (%d s)\n' "$*" "$SECONDS"
}

# fail NAME TEXT: a step outside any test runner went wrong; counted as one failed test.
fail() {
        echo "FAILED: $1: $2"
        printf '%s\t%s\n' "$1" "$2" >>"$results/steps.failed"
}

# build STAGE SANITIZE MESON-OPTION…: configures, compiles, installs to build-tests/STAGE/prefix.
build() {
        local stage=$1 sanitize=$2 folder=$out/$1
        shift 2
        say "$stage: build"
        local log=$results/$stage-build.log options=(--prefix="$folder/prefix" -Dsanitize="$sanitize" "$@")
        if [ -f "$folder/build.ninja" ]; then
                meson configure "$folder" "${options[@]}" >"$log" 2>&1
        else
                meson setup "$folder" "${options[@]}" >"$log" 2>&1
        fi || { tail -20 "$log"; fail "$stage build" "meson failed"; return 1; }
        ninja -C "$folder" >>"$log" 2>&1 || {
                grep -E 'error|warning|FAILED' "$log" | head -40
                fail "$stage build" "compilation failed"
                return 1
        }
        meson install -C "$folder" --no-rebuild >>"$log" 2>&1 || { tail -20 "$log"; fail "$stage build" "install failed"; return 1; }
}

# unit STAGE [SUITE…]
unit() {
        local stage=$1 folder=$out/$1 suites=()
        shift
        for suite in "$@"; do
                suites+=(--suite "$suite")
        done
        say "$stage: unit tests"
        local log=$results/$stage-unit.log multiplier=1
        [ "$stage" = plain ] || multiplier=10
        rm -f "$folder/meson-logs/testlog.json"
        SWEEPD_PREFIX="$folder/prefix" "${wrap[@]}" meson test -C "$folder" --no-rebuild --timeout-multiplier "$multiplier" \
                --print-errorlogs "${suites[@]}" >"$log" 2>&1 || grep -vE '^ *[0-9]+/[0-9]+ .* OK ' "$log" | tail -150
        [ -f "$folder/meson-logs/testlog.json" ] || { tail -5 "$log"; fail "$stage unit" "meson test left no log"; return; }
        cp "$folder/meson-logs/testlog.json" "$results/$stage-unit.testlog.json"
}

# python STAGE SANITIZE KIND [PYTEST-ARGUMENT…]: runs tests/KIND, two at a time for each core as they wait more than they work
python() {
        local stage=$1 sanitize=$2 kind=$3
        shift 3
        compgen -G "$root/tests/$kind/test_*.py" >/dev/null || return 0
        say "$stage: $kind tests"
        SWEEPD_PREFIX="$out/$stage/prefix" SWEEPD_BUILD="$out/$stage" SWEEPD_SOURCE_ROOT="$root" SWEEPD_SANITIZE="$sanitize" \
                PYTHONDONTWRITEBYTECODE=1 "${wrap[@]}" /usr/bin/python3 -m pytest -q -ra -p no:cacheprovider \
                -n $(($(nproc) * 2)) --junitxml="$results/$stage-$kind.junit.xml" "$@" "$root/tests/$kind"
        local rc=$?
        # 1 = some test failed, which the XML tells; all else never ran to its end
        [ $rc -le 1 ] || fail "$stage $kind" "pytest ended with code $rc"
}

# A thread sanitizer of GCC 12 dies at start where the kernel randomises addresses widely; without randomisation it runs.
prepare_thread_sanitizer() {
        local probe=$results/probe
        echo 'int main(void) { return 0; }' >"$probe.c"
        gcc -fsanitize=thread -o "$probe" "$probe.c" || return 1
        wrap=()
        "$probe" >/dev/null 2>&1 && return 0
        wrap=(setarch "$(uname -m)" -R)
        "${wrap[@]}" "$probe" >/dev/null 2>&1
}

finish() {
        printf '\n'
        /usr/bin/python3 "$root/tests/support/count_results.py" "$results"
        exit $?
}

if $install; then
        say "packages"
        deploy/install-packages.sh || fail packages "could not be installed"
fi

wrap=()
if build plain "" -Dwerror=true --buildtype=release; then
        unit plain
        python plain "" integration
        python plain "" fault
        python plain "" netns
fi
$quick && finish

export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0"
export LSAN_OPTIONS="suppressions=$root/tests/support/leaks.txt:print_suppressions=0"
export UBSAN_OPTIONS="print_stacktrace=1"
if build address address,undefined --buildtype=debugoptimized; then
        unit address
        python address address,undefined integration
fi
unset ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS

# libgomp is not built for the thread sanitizer and would be reported: one BLAS thread.
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1" OMP_NUM_THREADS=1
if prepare_thread_sanitizer; then
        if build thread thread --buildtype=debugoptimized; then
                unit thread $coordinator_suites
                python thread thread integration -m coordinator
        fi
else
        echo "thread sanitizer cannot run under this kernel: stage skipped"
        echo "thread sanitizer stage" >>"$results/steps.skipped"
fi
finish
