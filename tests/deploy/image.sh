#!/bin/bash
# Makes the disk that every guest starts from: image.sh DIRECTORY
#
# A Debian 12 with systemd, sshd, Python and a kernel that has IPVS; nothing of ha-lvs. DIRECTORY gets disk.img, vmlinuz
# and initrd.img. Which guest a machine is follows from the hardware addresses of its two interfaces: `mgmt`, by which
# it is managed, and `e0`, its cable to the lab's switch. Its key, its name and its machine id are written into its copy.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
packages=(
    systemd-sysv dbus openssh-server python3 python3-venv iproute2 kmod procps
    linux-image-cloud-amd64 initramfs-tools lz4
    nginx-light  # for the guest that is a real server; not started elsewhere
    nftables     # marks the traffic of service groups; the role installs it, and there is no internet
    ipvsadm      # to look at a director's kernel with other eyes than its own
)
# What would run at its own hours and take the emulated processor away from what is measured.
unwanted=(
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-networkd-wait-online.service systemd-timesyncd.service systemd-tmpfiles-clean.timer getty@tty1.service
)

# In the new root, by mmdebstrap: image.sh --customize ROOT
customize() {
    local root=$1 number
    for number in 11 12 22; do  # lb1, lb2, s2
        interface "$root" "mgmt-$number" mgmt "02:09:00:00:00:$(printf %02x "$number")" 10.0.2.15/24
        interface "$root" "e0-$number" e0 "02:09:0a:09:00:$(printf %02x "$number")" "10.9.0.$number/24"
    done
    cat >"$root/etc/nginx/sites-available/default" <<'SITE'
server {
    listen 80;
    default_type text/plain;
    access_log off;
    location / { return 200 "$hostname"; }
    location /healthz { return 200 "ok"; }
}
SITE
    # A guest that loses its power must still have told its story.
    mkdir -p "$root/etc/systemd/journald.conf.d" "$root/var/log/journal"
    printf '[Journal]\nStorage=persistent\nSyncIntervalSec=1s\nRateLimitIntervalSec=0\n' \
        >"$root/etc/systemd/journald.conf.d/lab.conf"
    install -d -m 700 "$root/root/.ssh"
    chroot "$root" systemctl --quiet enable systemd-networkd.service
    chroot "$root" systemctl --quiet disable nginx.service
    chroot "$root" systemctl --quiet mask "${unwanted[@]}"
    # Small and quickly unpacked: under emulation the usual one takes ten seconds more.
    sed -i 's/^COMPRESS=.*/COMPRESS=lz4/; s/^MODULES=.*/MODULES=list/' "$root/etc/initramfs-tools/initramfs.conf"
    printf '%s\n' virtio_pci virtio_blk ext4 >>"$root/etc/initramfs-tools/modules"
    chroot "$root" update-initramfs -u
    rm -f "$root/etc/resolv.conf"
}

interface() {
    local root=$1 file=$2 name=$3 hardware=$4 address=$5
    printf '[Match]\nMACAddress=%s\n[Link]\nName=%s\n' "$hardware" "$name" >"$root/etc/systemd/network/10-$file.link"
    printf '[Match]\nMACAddress=%s\n[Network]\nAddress=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
        "$hardware" "$address" >"$root/etc/systemd/network/10-$file.network"
}

if [ "$1" = --customize ]; then
    customize "$2"
    exit
fi

target=$1
mkdir -p "$target"
work=$(mktemp -d -p "$target" work.XXXXXX)
trap 'rm -rf "$work"' EXIT
included=$(IFS=,; echo "${packages[*]}")
mmdebstrap --variant=minbase --include="$included" --aptopt='Apt::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="bash '$here/image.sh' --customize \"\$1\"" bookworm "$work/root.tar"
mkdir "$work/root"
tar -xf "$work/root.tar" -C "$work/root" --numeric-owner
cp "$work"/root/boot/vmlinuz-* "$target/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$target/initrd.img"
mke2fs -q -t ext4 -F -L root -d "$work/root" "$work/disk.img" 2G
mv "$work/disk.img" "$target/disk.img"  # last: where it is, the image is complete
