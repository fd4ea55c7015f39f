#!/usr/bin/env bash
# `rocker pull`, beside podman, docker, skopeo with umoci, and what the machine itself takes: sudo -E benches/pull.sh [RUNS]
#
# From a registry on this host into an empty store on a fresh file system (ext4 in memory), until the command returns:
#   debian   Debian's minbase, one layer
#   gzip     eight layers of what is in /usr here, some 600 MB unpacked, gzip
#   zstd     the same, zstd
# `floor` is curl, pigz or zstd, and tar, all layers at once: nothing is verified, stored or forced to the disk. What rocker
# has forced to the disk when it returns, the others may have in memory; `sync` is part of no measurement.
#
# As root, in a fake host (tests/fake_host/enter.sh). Needs docker-registry, skopeo, mmdebstrap, curl, pigz, zstd, mkfs.ext4,
# hyperfine and jq, and compares with those of podman, docker (dockerd need not run) and umoci that are there.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "pull.sh: $*" >&2
    exit 1
}

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die 'file systems and mounts need root'
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    export PATH=$PATH:/usr/sbin:/sbin
    for tool in docker-registry skopeo mmdebstrap curl pigz zstd mkfs.ext4 hyperfine jq; do
        command -v "$tool" >/dev/null || die "$tool is missing"
    done
    cargo build --quiet --release -p rocker-cli --bin rocker
    release=$(realpath "${CARGO_TARGET_DIR:-target}")/$(rustc --print host-tuple)/release
    name=rocker-pull-$$
    # Made once: the network is not the fake host's.
    images=${ROCKER_BENCH_IMAGES:-/var/cache/rocker-tests/pull-bench}
    mkdir -p "$images"
    if [ ! -s "$images/debian.tar" ]; then
        mmdebstrap --quiet --format=tar --variant=minbase bookworm "$images/debian.new"
        mv "$images/debian.new" "$images/debian.tar"
    fi
    status=0
    tests/fake_host/enter.sh "$name" "$PWD/benches/pull.sh" --inside "$release" "${1:-5}" "$images" || status=$?
    for _ in 1 2 3 4 5; do
        left=$(find /sys/fs/cgroup -type d -name "$name")
        [ -n "$left" ] || break
        find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null || sleep 0.2
    done
    [ -z "$left" ] || die "cgroups left: $left"
    exit $status
fi

release=$2 runs=$3 images=$4
PATH=$release:$PATH
mount -t tmpfs -o size=90% tmpfs /run
mkdir -p /run/home /run/fs /run/registry /run/layout
export HOME=/run/home
for dir in etc var opt; do
    mkdir -p "/run/over/$dir/upper" "/run/over/$dir/work"
    mount -t overlay -o "lowerdir=/$dir,upperdir=/run/over/$dir/upper,workdir=/run/over/$dir/work" overlay "/$dir"
done

# The images.

cat >/run/registry/config.yml <<'END'
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /run/registry/data}}
http: {addr: "127.0.0.1:5000"}
END
OTEL_TRACES_EXPORTER=none docker-registry serve /run/registry/config.yml 2>/run/registry/log &
for _ in $(seq 100); do
    (: </dev/tcp/127.0.0.1/5000) 2>/dev/null && break
    sleep 0.1
done

# An OCI image of tar archives, its layers compressed by a command: image NAME MEDIATYPE COMPRESSOR TAR...
image() {
    local name=$1 type=$2 compressor=$3 layout=/run/layout/$1 digests='' layers='' tar blob size diff
    shift 3
    mkdir -p "$layout/blobs/sha256"
    for tar; do
        diff=$(sha256sum "$tar" | cut -d' ' -f1)
        digests+="${digests:+,}\"sha256:$diff\""
        $compressor <"$tar" >"$layout/new"
        blob=$(sha256sum "$layout/new" | cut -d' ' -f1) size=$(stat -c %s "$layout/new")
        mv "$layout/new" "$layout/blobs/sha256/$blob"
        layers+="${layers:+,}{\"mediaType\":\"$type\",\"digest\":\"sha256:$blob\",\"size\":$size}"
    done
    put() {
        local sum
        sum=$(printf %s "$2" | sha256sum | cut -d' ' -f1)
        printf %s "$2" >"$layout/blobs/sha256/$sum"
        printf '{"mediaType":"application/vnd.oci.image.%s+json","digest":"sha256:%s","size":%s%s}' "$1" "$sum" "${#2}" "${3-}"
    }
    local config manifest
    config=$(put config.v1 "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$digests]}}")
    manifest=$(put manifest.v1 "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":$config,\"layers\":[$layers]}" \
        ',"annotations":{"org.opencontainers.image.ref.name":"latest"}')
    printf '{"schemaVersion":2,"manifests":[%s]}' "$manifest" >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$layout:latest" "docker://127.0.0.1:5000/$name:latest"
    rm -r "$layout"
}

# Eight archives of some 75 MB each, of whole files in the order of their names: the same on every run on this machine.
mkdir /run/tars
(cd / && find usr -xdev \( -type f -size -8M -o -type l -o -type d \) ! -path 'usr/local/*' ! -path 'usr/src/*' -printf '%s %p\n' | LC_ALL=C sort -k2) |
    awk -v each=75000000 '{ sum += $1; n = int(sum / each); if (n >= 8) next; sub(/^[0-9]+ /, ""); print > ("/run/tars/list" n) }'
tars=()
for list in /run/tars/list?; do
    tar -C / --numeric-owner --no-recursion -cf "/run/tars/${list##*list}.tar" -T "$list"
    tars+=("/run/tars/${list##*list}.tar")
done
oci=application/vnd.oci.image.layer.v1.tar
image debian $oci+gzip 'pigz -6' "$images/debian.tar"
image gzip $oci+gzip 'pigz -6' "${tars[@]}"
image zstd $oci+zstd 'zstd -3 -c' "${tars[@]}"
files=$(cat /run/tars/list? | wc -l) bytes=$(cat "${tars[@]}" | wc -c)
rm -r /run/tars
echo "kernel $(uname -r), $(nproc) processors, $runs runs; gzip and zstd: $files files, $((bytes / 1000000)) MB"

# A fresh file system of its own for each measurement.
cat >/run/fresh <<'END'
#!/bin/sh
set -e
umount -q -l /run/fs 2>/dev/null || true
rm -f /run/fs.img
truncate -s 6G /run/fs.img
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /run/fs.img
mount -o loop /run/fs.img /run/fs
mkdir -p /run/fs/tmp /run/fs/run
END
chmod +x /run/fresh

# The peers.

cat >/run/rocker-pull <<'END'
#!/bin/sh
ROCKER_ROOT=/run/fs/rocker ROCKER_RUN=/run/fs/run exec rocker pull --quiet "127.0.0.1:5000/$1"
END
cat >/run/floor-pull <<'END'
#!/bin/bash
set -e
base=http://127.0.0.1:5000/v2/$1
n=0
while read -r type digest; do
    mkdir /run/fs/$n
    case $type in *gzip) inflate='pigz -dc' ;; *) inflate='zstd -dcq' ;; esac
    curl -sf "$base/blobs/$digest" | $inflate | tar -x --numeric-owner -p -C /run/fs/$n &
    n=$((n + 1))
done < <(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "$base/manifests/latest" | jq -r '.layers[]|.mediaType+" "+.digest')
wait
END
cat >/run/umoci-pull <<'END'
#!/bin/sh
set -e
export TMPDIR=/run/fs/tmp
skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://127.0.0.1:5000/$1:latest" oci:/run/fs/layout:latest
umoci unpack --image /run/fs/layout:latest /run/fs/bundle >/dev/null
END
cat >/run/podman-pull <<'END'
#!/bin/sh
export TMPDIR=/run/fs/tmp
exec podman --root /run/fs/podman --runroot /run/fs/podman-run --storage-driver overlay pull --quiet --tls-verify=false "127.0.0.1:5000/$1:latest"
END
cat >/run/docker-pull <<'END'
#!/bin/sh
exec docker pull --quiet "127.0.0.1:5000/$1:latest"
END
chmod +x /run/*-pull

declare -A mean=()
# measure KEY COMMAND IMAGE [PREPARE]
measure() {
    local key=$1.$3
    /run/fresh
    if [ "$1" = docker ]; then docker_up || return 0; fi
    # Once before, for what is read from the disk the first time, such as the program itself.
    "/run/$2-pull" "$3" >/dev/null || die "$2-pull $3 failed"
    local prepare=/run/fresh
    [ "$1" != docker ] || prepare='/run/docker-fresh'
    hyperfine --shell=none --style=none --runs "$runs" --prepare "$prepare" --export-json /run/times.json "/run/$2-pull $3" >/dev/null 2>&1 ||
        die "not every time: $2-pull $3"
    mean[$key]=$(jq '.results[0].mean' /run/times.json)
    [ "$1" != docker ] || docker_down
}

docker_up() {
    cat >/run/docker-fresh <<'END'
#!/bin/bash
if [ -s /run/docker.pid ]; then kill "$(cat /run/docker.pid)"; while [ -s /run/docker.pid ]; do sleep 0.1; done; fi
/run/fresh
dockerd --host unix:///run/docker.sock --data-root /run/fs/docker --exec-root /run/docker --pidfile /run/docker.pid \
    --storage-driver overlay2 --bridge none --iptables=false >/run/dockerd.log 2>&1 &
for _ in $(seq 100); do docker version >/dev/null 2>&1 && exit 0; sleep 0.1; done
exit 1
END
    chmod +x /run/docker-fresh
    export DOCKER_HOST=unix:///run/docker.sock
    /run/docker-fresh || { echo "not measured: docker does not start here: $(tail -n 1 /run/dockerd.log)"; return 1; }
}

docker_down() {
    kill "$(cat /run/docker.pid)" && while [ -s /run/docker.pid ]; do sleep 0.1; done
}

peers=(podman umoci docker)
for image in debian gzip zstd; do
    measure rocker rocker $image
    peak=$(ROCKER_ROOT=/run/fs/peak ROCKER_RUN=/run/fs/run /usr/bin/env python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' rocker pull --quiet "127.0.0.1:5000/$image")
    measure floor floor $image
    for peer in "${peers[@]}"; do
        command -v "${peer/docker/dockerd}" >/dev/null || continue
        # Neither knows zstd: umoci, and docker before 23.
        [ "$image" != zstd ] || [ "$peer" = podman ] || continue
        measure "$peer" "$peer" $image
    done
    printf '\n%s; peak memory of rocker %s MiB\n\n| %-24s | %8s | %12s |\n|%s|%s|%s|\n' "$image" "$peak" '' seconds 'rocker to it' \
        -------------------------- ---------: -------------:
    for peer in rocker floor "${peers[@]}"; do
        [ -n "${mean[$peer.$image]-}" ] || continue
        awk -v what="${peer/umoci/skopeo and umoci}" -v one="${mean[$peer.$image]}" -v own="${mean[rocker.$image]}" \
            'BEGIN { printf "| %-24s | %8.2f | %12.2f |\n", what, one, own / one }'
    done
done
umount -l /run/fs
kill %1
