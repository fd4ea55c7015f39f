#!/usr/bin/env bash
# The whole of `rocker run`, beside podman, docker, crun, runc and the kernel itself: sudo -E benches/run.sh [RUNS]
#
# From the call of the command until it returns with nothing left to do. Each one runs the same static `true`, which does
# nothing, in the same root file system on a tmpfs: of an image where the program has images, else in a bundle.
# `floor` (benches/floor.c) makes the same container by bare system calls, and nothing else.
#
# What crun and runc get is less than what rocker does: no overlay, no system call filter, no files from the host, and a root
# file system that is there already. With rocker's own config.json, filter and all, crun is measured once more. podman
# runs on crun and cgroupfs, docker on a daemon of its own that is started here. hyperfine takes one after the other
# without a pause; what the kernel puts off, such as the end of a veth, falls to the next run, for everybody alike.
#
# As root, in a fake host (tests/fake_host/enter.sh). Needs a C compiler, busybox, crun, hyperfine and jq, and compares with
# those of the others that are there: podman, runc, and docker with dockerd (Debian: docker.io; it need not run).
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "run.sh: $*" >&2
    exit 1
}

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die 'namespaces, mounts and cgroups need root'
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    export PATH=$PATH:/usr/sbin:/sbin
    for tool in cc busybox crun hyperfine jq; do
        command -v "$tool" >/dev/null || die "$tool is missing"
    done
    cargo build --quiet --release -p rocker-cli --bin rocker
    cargo build --quiet --release --example contain
    release=$(realpath "${CARGO_TARGET_DIR:-target}")/$(rustc --print host-tuple)/release
    cc -O2 -static -o "$release/floor" benches/floor.c
    name=rocker-run-$$
    status=0
    tests/fake_host/enter.sh "$name" "$PWD/benches/run.sh" --inside "$release" "${1:-100}" || status=$?
    # Processes of the fake host may take a moment to be gone from their cgroups.
    for _ in 1 2 3 4 5; do
        left=$(find /sys/fs/cgroup -type d -name "$name")
        [ -n "$left" ] || break
        find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null || sleep 0.2
    done
    [ -z "$left" ] || die "cgroups left: $left"
    exit $status
fi

release=$2 runs=$3
few=$((runs / 10 + 2)) # for those that take some tenths of a second
at_once=50
many=500
PATH=$release:$PATH

# Podman, docker and their plugins write where they like: what they write goes with the fake host.
for dir in etc var opt; do
    mkdir -p "/run/over/$dir/upper" "/run/over/$dir/work"
    mount -t overlay -o "lowerdir=/$dir,upperdir=/run/over/$dir/upper,workdir=/run/over/$dir/work" overlay "/$dir"
done
mount -t tmpfs -o mode=700 tmpfs /var/lib/rocker
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir /run/home
export HOME=/run/home
# crun 1.8 refuses a host with both hierarchies; what is unmounted here is the fake host's own.
if [ -e /sys/fs/cgroup/unified ]; then
    umount /sys/fs/cgroup/unified
fi

bundle=/run/bundle
mkdir "$bundle"
"$release/examples/contain" prepare "$bundle" # and an image of the same for rocker
cd "$bundle"

declare -A mean=()

# Measures one command: measure KEY RUNS COMMAND
measure() {
    $3 >/dev/null || die "exit status $?: $3"
    hyperfine --shell=none --style=none --warmup 3 --runs "$2" --export-json times.json "$3" >/dev/null 2>&1 ||
        die "not every time: $3"
    mean[$1]=$(jq '.results[0].mean * 1000' times.json)
}

title() {
    printf '\n%s\n\n| %-46s | %9s | %12s |\n|%s|%s|%s|\n' "$1" '' 'mean ms' 'rocker to it' \
        ------------------------------------------------ ----------: -------------:
}

# One line: row KEY WHAT [ROCKER], where ROCKER is the key of what to compare with it
row() {
    if [ -n "${mean[$1]-}" ]; then
        awk -v what="$2" -v own="${mean[$1]}" -v rocker="${mean[${3:-$1}]}" -v with="${3-}" \
            'BEGIN { printf "| %-46s | %9.1f | %12s |\n", what, own, with == "" ? "" : sprintf("%.2f", rocker / own) }'
    else
        printf '| %-46s | %9s | %12s |\n' "$2" 'not here' ''
    fi
}

# Says whether the first is at most so many times the second: target WHAT KEY TIMES KEY
target() {
    if [ -z "${mean[$2]-}" ] || [ -z "${mean[$4]-}" ]; then
        echo "  $1: not measured"
        return
    fi
    awk -v what="$1" -v one="${mean[$2]}" -v times="$3" -v other="${mean[$4]}" \
        'BEGIN { printf "  %s: %.2f, %s\n", what, one / other, one <= times * other ? "met" : "MISSED" }'
}

# The peers.

podman=
if command -v podman >/dev/null; then
    podman='podman --cgroup-manager cgroupfs --events-backend none --tmpdir /run/podman/tmp'
    mkdir /run/podman
    export CONTAINERS_STORAGE_CONF=/run/podman/storage.conf
    cat >"$CONTAINERS_STORAGE_CONF" <<'END'
[storage]
driver = "overlay"
runroot = "/run/podman/run"
graphroot = "/run/podman/storage"
END
    # Podman's subnet is the one that rocker takes too.
    sed -i 's/10\.88\./10.87./' /etc/cni/net.d/*podman*.conflist 2>/dev/null || true
    tar -C rootfs -c . | $podman import --quiet - contain >/dev/null
    $podman info --format 'podman {{.Version.Version}} on {{.Host.OCIRuntime.Name}}, network by {{.Host.NetworkBackend}}'
else
    echo 'not measured: podman is not here'
fi

docker=
if command -v dockerd >/dev/null && command -v docker >/dev/null; then
    export DOCKER_HOST=unix:///run/docker.sock
    dockerd --host "$DOCKER_HOST" --data-root /run/docker-data --exec-root /run/docker --pidfile /run/docker.pid \
        --exec-opt native.cgroupdriver=cgroupfs --storage-driver overlay2 --bip 10.86.0.1/16 >/run/dockerd.log 2>&1 &
    for _ in $(seq 80); do
        ! docker version >/dev/null 2>&1 || break
        sleep 0.25
    done
    if tar -C rootfs -c . | docker import - contain >/dev/null; then
        docker=docker
        echo "docker $(docker version --format '{{.Server.Version}}'), its daemon in the fake host"
    else
        echo "not measured: docker does not start here: $(tail -n 1 /run/dockerd.log)"
    fi
else
    echo 'not measured: docker is not here'
fi

ip link add floor0 type bridge
ip address add 10.85.0.1/16 dev floor0
ip link set floor0 up
mkdir /run/floor
floor="$release/floor $bundle/rootfs /run/floor"
floor_net="$floor --bridge floor0 10.85.0.2/16 10.85.0.1"

# Starts a container of rocker's that ends with its input, which is descriptor 9 here: hold OPTION...
hold() {
    [ -p /run/hold ] || mkfifo /run/hold
    rocker run --rm --interactive "$@" contain busybox cat </run/hold &
    held=$!
    exec 9>/run/hold
    for _ in $(seq 100); do
        ! pgrep --exact busybox >/dev/null || return 0
        sleep 0.05
    done
    die 'the container to be held does not run'
}

let_go() {
    exec 9>&-
    wait "$held"
}

version=v1
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || version=v2
echo "kernel $(uname -r), cgroups of $version, $(nproc) processors, $runs runs"

with_network() {
    measure net.alone "$runs" 'rocker run --rm contain true'
    hold
    measure net.beside "$runs" 'rocker run --rm contain true'
    let_go
    [ -z "$podman" ] || measure net.podman "$few" "$podman run --rm contain true"
    [ -z "$docker" ] || measure net.docker "$few" 'docker run --rm contain true'
    measure net.floor "$runs" "$floor_net true"
    title 'with network'
    row net.alone 'rocker run, the only container'
    row net.beside 'rocker run, another one is on the bridge'
    row net.podman 'podman run' net.alone
    row net.docker 'docker run' net.alone
    row net.floor 'floor --bridge' net.alone
    row net.floor 'floor --bridge, to the second' net.beside
}

without_network() {
    # rocker's own specification, for crun: the same container but for the overlay.
    hold --network none
    mkdir "$bundle/same"
    jq --arg root "$bundle/rootfs" '.process.args = ["/bin/true"] | .root.path = $root | del(.linux.cgroupsPath)' \
        /var/lib/rocker/containers/*/config.json >"$bundle/same/config.json"
    measure none.same "$few" 'crun run --bundle same same'
    let_go
    measure none.rocker "$runs" 'rocker run --rm --network none contain true'
    measure none.crun "$runs" 'crun run bare'
    ! command -v runc >/dev/null || measure none.runc "$runs" 'runc run bare'
    [ -z "$podman" ] || measure none.podman "$few" "$podman run --rm --network none contain true"
    [ -z "$docker" ] || measure none.docker "$few" 'docker run --rm --network none contain true'
    measure none.floor "$runs" "$floor true"
    title 'without network'
    row none.rocker 'rocker run --network none'
    row none.crun 'crun run' none.rocker
    row none.same "crun run, of rocker's own config.json" none.rocker
    row none.runc 'runc run' none.rocker
    row none.podman 'podman run --network none' none.rocker
    row none.docker 'docker run --network none' none.rocker
    row none.floor 'floor' none.rocker
}

all_at_once() {
    cat >/run/at_once <<'END'
#!/bin/sh
# at_once COUNT COMMAND...: all of them at the same time, until the last one has ended
count=$1 started=
shift
for _ in $(seq "$count"); do
    "$@" </dev/null &
    started="$started $!"
done
for one in $started; do
    wait "$one" || exit
done
END
    chmod +x /run/at_once
    measure all.rocker 5 "/run/at_once $at_once rocker run --rm contain true"
    [ -z "$podman" ] || measure all.podman 2 "/run/at_once $at_once $podman run --rm contain true"
    [ -z "$docker" ] || measure all.docker 2 "/run/at_once $at_once docker run --rm contain true"
    measure all.floor 5 "/run/at_once $at_once $floor_net true"
    title "$at_once at once, with network, until the last one has ended"
    row all.rocker 'rocker run'
    row all.podman 'podman run' all.rocker
    row all.docker 'docker run' all.rocker
    row all.floor 'floor --bridge' all.rocker
}

# Containers that nobody stays with.

# One line: memory WHAT START REMOVE, both commands; START prints the ID of a container, the only one there is.
# It is of the parent of the container's first process: what he shares with nobody, and what of that no file backs.
memory() {
    local id first parent
    id=$($2)
    sleep 0.5
    first=$(pgrep --exact --oldest busybox) || die "the detached container does not run: $2"
    parent=$(awk '/^PPid:/ { print $2 }' "/proc/$first/status")
    awk -v what="$1" '
        /^Private_(Clean|Dirty):/ { own += $2 }
        /^Private_Dirty:/ { dirty = $2 }
        END { printf "| %-46s | %9d | %12d |\n", what, own, dirty }' "/proc/$parent/smaps_rollup"
    $3 "$id" >/dev/null
}

detached() {
    # --detach-keys is older.
    if ! rocker run --help | grep -qE -- '--detach($|[^-])'; then
        printf '\nnot measured: this rocker has no run --detach\n'
        return
    fi
    printf '\nthe memory of who waits for a detached container, his alone\n\n| %-46s | %9s | %12s |\n|%s|%s|%s|\n' \
        '' KiB 'of it dirty' ------------------------------------------------ ----------: -------------:
    local sleeper='contain busybox sleep 1000'
    memory 'rocker' "rocker run -d --network none $sleeper" 'rocker rm -f'
    [ -z "$podman" ] || memory 'podman (conmon)' "$podman run -d --network none $sleeper" "$podman rm -f -t 0"
    [ -z "$docker" ] || memory 'docker (containerd-shim; its daemons apart)' "docker run -d --network none $sleeper" 'docker rm -f'

    measure many.without "$runs" 'rocker run --rm --network none contain true'
    for _ in $(seq "$many"); do
        # shellcheck disable=SC2086 # a list
        rocker run -d --network none $sleeper >/dev/null
    done
    [ "$(rocker ps -q | wc -l)" = "$many" ] || die "not all of the $many containers run"
    measure many.ps "$runs" 'rocker ps'
    measure many.with "$runs" 'rocker run --rm --network none contain true'
    rocker ps -q | xargs rocker rm -f >/dev/null
    [ -z "$(rocker ps -q)" ] || die 'detached containers are left'
    title "beside $many detached containers"
    row many.ps 'rocker ps'
    row many.with 'rocker run --network none'
    row many.without 'the same without them' many.with
}

with_network
without_network
all_at_once
detached

mean[50ms]=50
printf '\ntargets\n'
target 'without network, at most 1.0 of crun' none.rocker 1.0 none.crun
target "  and of crun with rocker's own config.json" none.rocker 1.0 none.same
target 'with network, at most 0.1 of podman' net.alone 0.1 net.podman
target '  and beside another container' net.beside 0.1 net.podman
target 'with network, at most 1.5 of the floor' net.alone 1.5 net.floor
target '  and beside another container' net.beside 1.5 net.floor
target "rocker ps with $many containers, in units of 50 ms, at most 1.0" many.ps 1.0 50ms
target "rocker run with $many containers, at most 1.5 of without" many.with 1.5 many.without
