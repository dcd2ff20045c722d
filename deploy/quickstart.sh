#!/bin/bash
# From a fresh clone on Debian 12 to a finished study: installs packages, builds, starts the coordinator and two workers on
# this machine's loopback address, runs the demo study and shows it. Under 5 minutes on 2 cores, package download apart.
#
#   deploy/quickstart.sh [--exit] [--no-install] [--prefix DIR] [--keep]
#     --exit         end when the study has finished (default: keep serving until Ctrl-C)
#     --no-install   leave Debian packages alone
#     --prefix DIR   install the programs to DIR (default: build-quickstart/prefix)
#     --keep         keep database, logs and models after the end
#
# Whatever way it ends, nothing that it started stays.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PATH="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:$PATH" LC_ALL=C.UTF-8

stay=true install=true keep=false
prefix=$root/build-quickstart/prefix
while [ $# -gt 0 ]; do
        case $1 in
        --exit) stay=false ;;
        --no-install) install=false ;;
        --keep) keep=true ;;
        --prefix)
                [ $# -ge 2 ] || { echo "--prefix needs a folder" >&2; exit 2; }
                mkdir -p "$2"
                prefix=$(cd "$2" && pwd)
                shift
                ;;
        --help)
                sed -n '2,11s/^# \{0,1\}//p' "$0"
                exit 0
                ;;
        *)
                echo "unknown option: $1 (try --help)" >&2
                exit 2
                ;;
        esac
        shift
done

say() {
        printf '\n\033[1m==> %s\033[0m\n' "$*"
}

# --- what was started, and its end ------------------------------------------------------------------
work=
daemons=() # the coordinator first

# start LOG PROGRAM ARGUMENT…: in a session of its own, so that Ctrl-C reaches this script alone and the order of ending is
# ours; and killed by the kernel should this script be.
start() {
        local log=$1
        shift
        setsid setpriv --pdeathsig TERM -- "$@" >"$log" 2>&1 </dev/null &
        daemons+=($!)
}

# attend COMMAND…: runs it and waits, so that a signal ends this script at once and not after the command.
child=
attend() {
        setpriv --pdeathsig TERM -- "$@" </dev/null &
        child=$!
        local rc=0
        wait "$child" || rc=$?
        child=
        return $rc
}

# stop PID: asks, waits up to 25 seconds (a worker lets its training write a checkpoint), then insists.
stop() {
        kill -TERM "$1" 2>/dev/null || return 0
        for _ in $(seq 250); do
                kill -0 "$1" 2>/dev/null || break
                sleep 0.1
        done
        kill -KILL "$1" 2>/dev/null || true
        wait "$1" 2>/dev/null || true
}

finish() {
        local rc=$? i stopping=()
        trap '' INT TERM HUP
        trap - EXIT
        [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
        if [ ${#daemons[@]} -gt 0 ]; then
                say "stopping workers and coordinator"
                for ((i = 1; i < ${#daemons[@]}; i++)); do # the workers together, the coordinator after them
                        stop "${daemons[i]}" &
                        stopping+=($!)
                done
                [ ${#stopping[@]} -eq 0 ] || wait "${stopping[@]}" || true
                stop "${daemons[0]}"
        fi
        if [ -n "$work" ] && $keep; then
                echo "kept: $work"
        elif [ -n "$work" ]; then
                rm -rf "$work"
        fi
        exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# run LOG COMMAND…: quietly; the end of the log when it fails
run() {
        local log=$1
        shift
        attend "$@" >>"$log" 2>&1 || { tail -30 "$log" >&2; echo "failed: $* (all of it: $log)" >&2; exit 1; }
}

# --- build ------------------------------------------------------------------------------------------
if $install; then
        say "packages (deploy/debian-packages.txt)"
        "$root/deploy/install-packages.sh"
fi

build=$root/build-quickstart
say "building in $build, installing to $prefix"
mkdir -p "$build"
log=$build/quickstart.log
: >"$log"
if [ -f "$build/build.ninja" ]; then
        run "$log" meson configure "$build" --prefix="$prefix" -Dtests=false
else
        run "$log" meson setup "$build" "$root" --prefix="$prefix" -Dtests=false
fi
run "$log" ninja -C "$build"
run "$log" meson install -C "$build" --no-rebuild

# --- run --------------------------------------------------------------------------------------------
work=$(mktemp -d "${TMPDIR:-/tmp}/sweepd-demo.XXXXXX")

listen=127.0.0.1:8484
if (exec 3<>/dev/tcp/127.0.0.1/8484) 2>/dev/null; then
        listen=127.0.0.1:0 # somebody is there
fi
say "starting the coordinator and two workers (database and logs: $work)"
start "$work/sweepd.log" "$prefix/bin/sweepd" --no-auth --listen "$listen" --database "$work/sweepd.db" --address-file "$work/address"
for _ in $(seq 100); do
        [ ! -s "$work/address" ] || break
        kill -0 "${daemons[0]}" 2>/dev/null || break
        sleep 0.1
done
[ -s "$work/address" ] || { tail -20 "$work/sweepd.log" >&2; echo "the coordinator did not start" >&2; exit 1; }
url=$(cat "$work/address")
for n in 1 2; do
        start "$work/worker-$n.log" "$prefix/bin/sweep-worker" --coordinator "$url" --name "demo-$n" --slots 1 --threads 1 \
                --work-dir "$work/worker-$n" --min-free-mb 100
done
echo "coordinator: $url"

say "the demo study: $prefix/share/sweepd/demo/study.yaml"
export SWEEPD_URL=$url
answer=$("$prefix/bin/sweepctl" --json create "$prefix/share/sweepd/demo/study.yaml")
sweep=$(grep -o '"id": *"[^"]*"' <<<"$answer" | head -n 1 | cut -d '"' -f 4)
[ -n "$sweep" ] || { echo "no id in the coordinator's answer: $answer" >&2; exit 1; }
attend "$prefix/bin/sweepctl" watch "$sweep"

say "results, best first"
"$prefix/bin/sweepctl" trials "$sweep" --sort -value
say "what each stage found"
"$prefix/bin/sweepctl" show "$sweep"
say "the best trial"
"$prefix/bin/sweepctl" best "$sweep"

say "finished after $SECONDS s"
$stay || exit 0
cat <<END

Still serving: $url/
Try, in another terminal:

  curl -s $url/v1/sweeps/$sweep/best
  curl -s '$url/v1/sweeps/$sweep/trials?sort=-value&limit=5'
  curl -s $url/v1/sweeps/$sweep/importance
  curl -s '$url/v1/sweeps/$sweep/export?format=csv'
  curl -s $url/v1/workers
  export SWEEPD_URL=$url PATH=$prefix/bin:\$PATH
  sweepctl list
  sweepctl report $sweep -o study.html

Ctrl-C stops everything.
END
wait "${daemons[0]}" || true
echo "the coordinator has ended" >&2
exit 1
