#!/bin/bash
# The init of the user-mode guest: the host's file system read-only, a few places of its own, then guest.sh, then off.
#
# The kernel hands its command line's NAME=value words over as environment:
#   LAB_RUN       run directory
#   LAB_WRITABLE  directory of the host that may be written
#   LAB_SOURCE    the project, mounted again in case the guest's own /tmp hides it
#   LAB_MODULES   the kernel's module tree
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
here=$(dirname "$0")
mount -t proc proc /proc
echo lab >/proc/sys/kernel/hostname
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ln -sf /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /run
# Whatever lies below /tmp has to be reached from elsewhere once /tmp is the guest's own.
mkdir -p /run/source && mount -t hostfs -o "$LAB_SOURCE" hostfs /run/source
mkdir -p /run/writable && mount -t hostfs -o "$LAB_WRITABLE" hostfs /run/writable
mkdir -p /run/modules && mount -t hostfs -o "$LAB_MODULES" hostfs /run/modules
mkdir -p /run/here && mount -t hostfs -o "$here" hostfs /run/here
mount -t tmpfs tmpfs /tmp
case "$LAB_SOURCE" in /tmp/*) mkdir -p "$LAB_SOURCE" && mount --bind -o ro /run/source "$LAB_SOURCE" ;; esac
mkdir -p "$LAB_WRITABLE" && mount --bind /run/writable "$LAB_WRITABLE"
mount --bind /run/modules /lib/modules
bash /run/here/guest.sh "$LAB_RUN"
echo o >/proc/sysrq-trigger
sleep 5
