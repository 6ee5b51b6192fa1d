#!/bin/bash
# The tests that need a lab: those on the running kernel and those on one with IPVS, side by side.
#     test-labs.sh BIN-DIRECTORY
#
# Where the running kernel has IPVS both run on it. The first one's output is live, the other's follows whole; the exit
# code is non-zero when either failed. Nothing may be skipped for want of root or IPVS.
set -uo pipefail

bin=$(cd "$1" && pwd)
logs=build/test
mkdir -p "$logs"
export HA_LVS_REQUIRE=netns,ipvs PATH="$bin:$PATH:/usr/sbin:/sbin"

setsid "$bin/python" -m ha_lvs.drill.lab run --timeout 3600 -- pytest -m ipvs --durations=5 >"$logs/ipvs.log" 2>&1 &
guest=$!
trap 'kill "$guest" 2>/dev/null; wait "$guest"' EXIT

# Each lab has names of its own, so several run side by side; most of the time they wait for timers. Only what takes the
# whole machine runs alone. All of it gives way to the guest, which has one processor and takes longest.
echo "== tests in namespaces of this kernel; those that need IPVS run meanwhile into $logs/ipvs.log"
# The kernel shares processors between sessions first (sched_autogroup), and each director of a lab is a session.
{ echo -10 >"/proc/$guest/autogroup"; } 2>/dev/null || true
native() {
    HA_LVS_REQUIRE=netns nice -n 5 "$bin/pytest" "$@" --durations=5 2>&1 | tee "$logs/netns$((++native_runs)).log"
    return "${PIPESTATUS[0]}"
}
native_runs=0
native -n 3 --dist worksteal -m 'netns and not ipvs and not alone'
native_status=$?
native -m 'netns and not ipvs and alone' || native_status=$?

echo "== tests on a kernel with IPVS"
tail -n +1 -f --pid="$guest" "$logs/ipvs.log"
wait "$guest"
ipvs_status=$?
trap - EXIT

for log in "$logs"/netns?.log; do echo "== this kernel:      $(tail -n 1 "$log")"; done
echo "== kernel with IPVS: $(tail -n 1 "$logs/ipvs.log")"
[ "$native_status" = 0 ] && [ "$ipvs_status" = 0 ]
