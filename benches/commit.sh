#!/usr/bin/env bash
# `rocker commit` and `rocker diff` of a container that has written many files, beside podman and tar: sudo -E benches/commit.sh [RUNS]
#
# The container's own layer has 20,000 files of 1 to 8 KiB in 200 directories, on a fresh tmpfs, and the container has ended.
#   commit   rocker compresses the layer by gzip, and unpacks it into its store; podman does neither, but copies it into its own
#   tar      `tar -c` of the upper directory, as it is, and through `gzip -3`, and unpacked again from there: what a commit has to do
#   diff     rocker and podman
# What was committed is removed before each run, which is no part of the measurement.
#
# As root, in a fake host (tests/fake_host/enter.sh). Needs hyperfine, and compares with podman if that is there.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "commit.sh: $*" >&2
    exit 1
}

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die 'mounts need root'
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    export PATH=$PATH:/usr/sbin:/sbin
    command -v hyperfine >/dev/null || die 'hyperfine is missing'
    cargo build --quiet --release -p rocker-cli --bin rocker
    release=$(realpath "${CARGO_TARGET_DIR:-target}")/$(rustc --print host-tuple)/release
    name=rocker-commit-$$
    status=0
    tests/fake_host/enter.sh "$name" "$PWD/benches/commit.sh" --inside "$release" "${1:-10}" || status=$?
    for _ in 1 2 3 4 5; do
        left=$(find /sys/fs/cgroup -type d -name "$name")
        [ -n "$left" ] || break
        find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null || sleep 0.2
    done
    [ -z "$left" ] || die "cgroups left: $left"
    exit $status
fi

release=$2 runs=$3
PATH=$release:$PATH
mount -t tmpfs -o size=90% tmpfs /run
mkdir -p /run/home /run/rootfs/bin
export HOME=/run/home ROCKER_ROOT=/run/rocker-root ROCKER_RUN=/run/rocker-run ROCKER_LINGER=0
cp "$(command -v busybox)" /run/rootfs/bin/busybox
ln -s busybox /run/rootfs/bin/sh
fill='i=0; while [ $i -lt 200 ]; do mkdir /d$i; j=0; while [ $j -lt 100 ]; do busybox dd if=/dev/urandom of=/d$i/$j bs=1024 count=$((j % 8 + 1)) 2>/dev/null; j=$((j + 1)); done; i=$((i + 1)); done'

tar -C /run/rootfs -c . | rocker import - base >/dev/null
rocker run --network none --name full base sh -c "$fill"
upper=$(echo "$ROCKER_ROOT"/containers/*/upper)
echo "$(find "$upper" | wc -l) files, $(du -sh --apparent-size "$upper" | cut -f1), Linux $(uname -r)"

podman=
if command -v podman >/dev/null; then
    podman='podman --cgroup-manager cgroupfs --events-backend none --tmpdir /run/podman/tmp'
    mkdir /run/podman
    export CONTAINERS_STORAGE_CONF=/run/podman/storage.conf
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/podman/run"\ngraphroot = "/run/podman/storage"\n' >"$CONTAINERS_STORAGE_CONF"
    tar -C /run/rootfs -c . | $podman import --quiet - base >/dev/null
    # The same files, without a run of it.
    $podman create --network none --name full base sh >/dev/null
    there=$($podman mount full)
    cp -a "$upper"/. "$there"
    $podman umount full >/dev/null
    echo "podman $($podman version --format '{{.Version}}')"
fi

measure() {
    hyperfine --style none --warmup 1 --runs "$runs" --export-json /run/result "$@" >/dev/null
    jq -r '.results[] | "\(.command)\t\(.mean * 1000 | round) ms ± \(.stddev * 1000 | round)"' /run/result
}

measure --command-name 'rocker diff' 'rocker diff full'
[ -z "$podman" ] || measure --command-name 'podman diff' "$podman diff full"
measure --command-name 'tar -c' "tar -C $upper --numeric-owner --sort=name --xattrs -cf /run/tar ."
measure --command-name 'tar -c | gzip -3' "tar -C $upper --numeric-owner --sort=name --xattrs -c . | gzip -3 >/run/tar.gz"
measure --command-name 'tar -c | gzip -3, and unpacked' --prepare 'rm -rf /run/unpacked; mkdir /run/unpacked' \
    "tar -C $upper --numeric-owner --sort=name --xattrs -c . | gzip -3 >/run/tar.gz; tar -C /run/unpacked --numeric-owner --xattrs -xpf /run/tar.gz"
measure --command-name 'rocker export' 'rocker export full >/run/exported'
measure --command-name 'rocker commit' --prepare 'rocker rmi new >/dev/null 2>&1; true' 'rocker commit full new'
if [ -n "$podman" ]; then
    measure --command-name 'podman export' "$podman export full >/run/exported"
    measure --command-name 'podman commit' --prepare "$podman rmi new >/dev/null 2>&1; true" "$podman commit --quiet --format oci full new"
fi
/usr/bin/env time -f 'rocker commit: peak memory %M KiB' rocker commit full >/dev/null || true
