#!/bin/bash
# Installs what the project needs on a fresh Debian or Ubuntu: provision.sh venv | lab | qemu | deploy | packages NAME...
#
# Only what is missing is installed, package lists are fetched only when they are not there or too old to serve, and no
# service is started by an installation. Says what it does; says nothing when there is nothing to do.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        echo "provision: '$*' needs root, and there is no sudo; run this as root" >&2
        exit 1
    fi
}

missing() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# A policy that forbids starting services, unless the machine has its own; taken away again whatever happens.
hold_services() {
    local policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && return
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

install_packages() {
    local wanted options=(-y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold)
    mapfile -t wanted < <(missing "$@")
    [ "${#wanted[@]}" = 0 ] && return
    command -v apt-get >/dev/null || { echo "provision: no apt-get here; install by hand: ${wanted[*]}" >&2; exit 1; }
    echo "provision: installing ${wanted[*]}"
    hold_services
    # apt's own lists may be too old for the mirror, or absent: then a second try after an update.
    if ! as_root apt-get install "${options[@]}" "${wanted[@]}" >/dev/null 2>&1; then
        echo "provision: fetching package lists"
        as_root apt-get update -q >/dev/null
        as_root apt-get install "${options[@]}" "${wanted[@]}" >/dev/null
    fi
}

case "${1:-}" in
    venv)
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "provision: Python 3.11 or newer is needed, this is $(python3 --version)" >&2
            exit 1
        }
        ;;
    lab) install_packages iproute2 ipvsadm nftables keepalived frr dnsmasq-base nginx-light tshark kmod procps ;;
    qemu) install_packages qemu-system-x86 busybox-static cpio kmod file ;;  # file: virtme-ng reads the kernel's version
    deploy) install_packages qemu-system-x86 mmdebstrap e2fsprogs openssh-client iproute2 nginx-light kmod procps ;;
    packages) shift; install_packages "$@" ;;
    *)
        echo "usage: provision.sh venv | lab | qemu | deploy | packages NAME..." >&2
        exit 2
        ;;
esac
