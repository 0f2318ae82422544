#!/usr/bin/env bash
# A private Docker engine for tests, on a machine that has none running and can pull no image. As root.
#
#   engine.sh start DIR     dockerd with all its state below DIR; prints the address for DOCKER_HOST
#   engine.sh base DIR TAG  an image with Debian 12 and its Python 3.11, this machine's CA bundle included; in the engine
#                           that DOCKER_HOST names, else the private one
#   engine.sh stop DIR      ends it and removes all that it made, DIR included
#
# Needs Debian's docker.io, debootstrap and iptables. DIR: at most 80 characters, for the socket in it.
set -euo pipefail

command=$1
dir=$2
socket=unix://$dir/docker.sock

start() {
    if [ -e /var/run/docker.pid ] || ip link show docker0 >/dev/null 2>&1; then
        echo "engine.sh: a Docker engine uses this machine's bridge already: stop it, or name it by" \
            "JEEVES_TEST_DOCKER_HOST=unix:///var/run/docker.sock" >&2
        exit 3
    fi
    mkdir -p "$dir"
    iptables-save >"$dir/iptables"
    nohup dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "$socket" \
        >"$dir/dockerd.log" 2>&1 &
    for _ in $(seq 120); do
        if docker --host "$socket" version >/dev/null 2>&1; then
            echo "$socket"
            return
        fi
        sleep 0.5
    done
    tail -20 "$dir/dockerd.log" >&2
    exit 1
}

base() {
    tag=$1
    mkdir -p "$dir"
    export DOCKER_HOST=${DOCKER_HOST:-$socket}
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/jeeves/containers
    # Made once a machine: a Debian of some 300 MB takes a minute or two.
    if [ ! -e "$cache/bookworm.tar" ]; then
        mkdir -p "$cache"
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
            bookworm "$dir/rootfs" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$dir/debootstrap.log"
        rm -rf "$dir"/rootfs/var/cache/apt/archives/*.deb "$dir"/rootfs/var/lib/apt/lists/*
        ln -s python3 "$dir/rootfs/usr/bin/python"
        tar -C "$dir/rootfs" -cf "$cache/bookworm.tar.$$" .
        mv "$cache/bookworm.tar.$$" "$cache/bookworm.tar"
        rm -rf "$dir/rootfs"
    fi
    mkdir -p "$dir/certificates/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$dir/certificates/etc/ssl/certs/"
    path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    docker import --change "ENV PATH=$path" "$cache/bookworm.tar" "$tag-plain" >/dev/null
    printf 'FROM %s-plain\nCOPY etc /etc\n' "$tag" >"$dir/certificates/Dockerfile"
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$tag" "$dir/certificates"
}

stop() {
    if [ -e "$dir/docker.pid" ]; then
        pid=$(cat "$dir/docker.pid")
        kill "$pid" 2>/dev/null || true
        # It removes the file when it is done; the process itself may stay for ever where nothing reaps it.
        for _ in $(seq 120); do
            [ -e "$dir/docker.pid" ] || break
            sleep 0.5
        done
        [ ! -e "$dir/docker.pid" ] || kill -KILL "$pid" 2>/dev/null || true
    fi
    if [ -e "$dir/iptables" ]; then
        iptables-restore <"$dir/iptables"
        ip link delete docker0 2>/dev/null || true
    fi
    # What a killed engine left mounted, deepest first.
    awk -v below="$dir/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mounted; do
        umount --lazy "$mounted"
    done
    rm -rf "$dir"
}

case $command in
start) start ;;
base) base "${3:?TAG}" ;;
stop) stop ;;
*)
    sed -n '2,9p' "$0" >&2
    exit 2
    ;;
esac
