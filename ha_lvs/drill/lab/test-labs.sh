#!/bin/bash
# The tests that need a lab: those on the running kernel and those on one with IPVS, side by side.
#     test-labs.sh BIN-DIRECTORY
#
# Where the running kernel has IPVS all run on it; elsewhere those that need it run in two guests, whole pairs and drills in
# one of them. The output of the first kind is live, the others' follow whole; the exit code is non-zero when
# any failed. Nothing may be skipped for want of root or IPVS.
set -uo pipefail

bin=$(cd "$1" && pwd)
logs=build/test
mkdir -p "$logs"
export HA_LVS_REQUIRE=netns,ipvs PATH="$bin:$PATH:/usr/sbin:/sbin"

pairs=(tests/kernel/test_drill_*.py tests/kernel/test_{pair,reload,overrides}_ipvs.py)
lab=("$bin/python" -m ha_lvs.drill.lab run --timeout 3600 --)
declare -A guests=()
trap 'kill "${guests[@]}" 2>/dev/null; wait "${guests[@]}"' EXIT

guest() { # NAME PYTEST-ARGUMENTS...
    local log=$logs/$1.log
    setsid "${lab[@]}" pytest -m ipvs --durations=5 "${@:2}" >"$log" 2>&1 &
    guests[$1]=$!
    # The kernel shares processors between sessions first (sched_autogroup), and each director of a lab is a session.
    { echo -10 >"/proc/$!/autogroup"; } 2>/dev/null || true
}

native() {
    HA_LVS_REQUIRE=netns nice -n 5 "$bin/pytest" "$@" --durations=5 2>&1 | tee "$logs/netns$((++native_runs)).log"
    return "${PIPESTATUS[0]}"
}
native_runs=0

"${lab[@]}" true || exit 1 # prepares what guests share
guest pairs "${pairs[@]}"
guest ipvs "${pairs[@]/#/--ignore=}"

# Each lab has names of its own, so several run side by side; most of the time they wait for timers. Only what takes the
# whole machine runs alone. All of it gives way to the guests, which have one processor each and take longest.
echo "== tests in namespaces of this kernel; those that need IPVS run meanwhile into $logs/{ipvs,pairs}.log"
native -n 3 --dist worksteal -m 'netns and not ipvs and not alone'
status=$?
native -m 'netns and not ipvs and alone' || status=$?

for name in ipvs pairs; do
    echo "== tests on a kernel with IPVS: $name"
    tail -n +1 -f --pid="${guests[$name]}" "$logs/$name.log"
    wait "${guests[$name]}" || status=$?
done
trap - EXIT

for log in "$logs"/netns?.log; do echo "== this kernel:      $(tail -n 1 "$log")"; done
for name in ipvs pairs; do echo "== kernel with IPVS: $(tail -n 1 "$logs/$name.log")"; done
exit "$status"
