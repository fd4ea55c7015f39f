#!/bin/sh
# Makes a fake host and runs COMMAND in it: enter.sh NAME COMMAND [ARGUMENT]...
#
# A fake host has mount, network, PID, IPC, UTS and cgroup namespaces of its
# own, so that a test can make bridges, mounts, cgroups and firewall rules as on
# a machine of its own, and the kernel takes them all away when it ends.
# /run, /var/lib/rocker and /sys are fresh; cgroups lie below NAME.
set -eu
spaces='--mount --net --pid --ipc --uts --propagation private --fork --kill-child=KILL --mount-proc'
if [ "$1" != --inside ] && [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # cgroup v2: NAME is the root of the fake host's cgroups and has every
    # controller to give; as it then cannot have processes, they are in NAME/self.
    mine=/sys/fs/cgroup/$1
    mkdir -p "$mine/self"
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || true
    done
    status=0
    # shellcheck disable=SC2016 # the inner shells expand it
    sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup sh -c "$2" sh "$@"' sh "$mine" \
        'mine=$1 spaces=$3; shift 3; echo $$ >"$mine/self/cgroup.procs" && exec unshare $spaces "$@"' \
        "$spaces" "$0" --inside "$@" || status=$?
    rmdir "$mine/self" 2>/dev/null || true
    tries=0
    while ! rmdir "$mine" 2>/dev/null && [ $tries -lt 50 ]; do
        left=$(find "$mine" -mindepth 1 -type d ! -path "$mine/self")
        [ -z "$left" ] || { echo "cgroups left: $left" >&2 && status=1; }
        find "$mine" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
        tries=$((tries + 1))
        sleep 0.1
    done
    exit $status
fi
if [ "$1" != --inside ]; then
    name=$1
    for dir in /sys/fs/cgroup/*/; do
        [ -e "$dir/cgroup.procs" ] || continue
        case $dir in */unified/) key='' ;; *) key=$(basename "$dir") ;; esac
        at=$(sed -n "s/^[0-9]*:\(name=\)\?$key://p" /proc/self/cgroup | head -n 1)
        mine=$dir$at/$name
        mkdir -p "$mine"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -e "$mine/$file" ] || cat "$dir$at/$file" >"$mine/$file"
        done
        echo $$ >"$mine/cgroup.procs"
    done
    # shellcheck disable=SC2086 # a list of options
    exec unshare --cgroup $spaces "$0" --inside "$@"
fi
shift 2
cgroups=$(sed -n 's/^[^ ]* \(\/sys\/fs\/cgroup[^ ]*\) \(cgroup2\?\) \([^ ]*\) .*/\1 \2 \3/p' /proc/self/mounts)
mount -t sysfs sysfs /sys
echo "$cgroups" | grep -q '^/sys/fs/cgroup cgroup2' || mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
echo "$cgroups" | while read -r at type options; do
    [ -n "$at" ] || continue
    mkdir -p "$at"
    case $type in
    cgroup2) mount -t cgroup2 cgroup2 "$at" ;;
    cgroup) mount -t cgroup -o "$(echo "$options" | sed 's/^rw,//; s/nosuid,//; s/nodev,//; s/noexec,//; s/relatime,//')" cgroup "$at" ;;
    esac
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /var/lib/rocker
mount -t tmpfs -o mode=700 tmpfs /var/lib/rocker
ip link set lo up
hostname fake-host
exec "$@"
