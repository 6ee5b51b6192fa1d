#!/bin/bash
# Inside the guest, as root: prepares its kernel for the lab, then runs the job. guest.sh RUN_DIRECTORY
#
# The run directory is shared with the host, which follows `output` there and waits for `status`.
run=$1
mkdir -p /run/netns /run/lock
mountpoint -q /dev/shm || { mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm; }
for each in /var/log /var/tmp /var/lib/nginx; do
    [ -d "$each" ] && mount -t tmpfs tmpfs "$each"
done
ip link set lo up
sysctl -q -w kernel.printk="1 4 1 7" net.ipv4.ip_nonlocal_bind=0 2>/dev/null
# shellcheck disable=SC2046
modprobe --quiet --all $(cat "$run/modules")
bash "$run/job" >"$run/output" 2>&1 </dev/null
echo $? >"$run/status.new"
sync
mv "$run/status.new" "$run/status"
sync
