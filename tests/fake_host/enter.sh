#!/bin/sh
# Makes a fake host and runs COMMAND in it: enter.sh NAME COMMAND [ARGUMENT]...
#
# A fake host has mount, network, PID, IPC, UTS and cgroup namespaces of its
# own, so that a test can make bridges, mounts, cgroups and firewall rules as on
# a machine of its own, and the kernel takes them all away when it ends.
# /run, /var/lib/rocker and /sys are fresh; cgroups lie below NAME.
set -eu
if [ "$1" != --inside ]; then
    name=$1
    for dir in /sys/fs/cgroup/*/; do # cgroup v1; on v2 the test has the machine's root
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
    exec unshare --mount --net --pid --ipc --uts --cgroup --propagation private \
        --fork --kill-child=KILL --mount-proc "$0" --inside "$@"
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
