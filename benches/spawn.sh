#!/usr/bin/env bash
# From the start of a container to its end, beside other programs: sudo -E benches/spawn.sh [RUNS]
#
# Each one runs the same static `true`, which does nothing, on the same root file system on a tmpfs, in new PID, mount,
# network, IPC, UTS and cgroup namespaces. What is mounted and masked is what `crun spec` asks for, on cgroup v1 with
# every controller's tree. crun and runc read it from config.json; `contain` (benches/contain) makes the same of the
# crates, without the engine. bwrap comes as near to it as it can, and makes no cgroup; unshare mounts /proc alone.
#
# Two tables, for two questions. One after the other without a pause, the kernel's read-copy-update never comes to rest.
# With a pause before each run, as on a machine that does other things, a move to a cgroup of v1 by somebody else has to wait for it.
#
# As root, in a fake host (tests/fake_host/enter.sh). Needs busybox, hyperfine, jq and crun, and compares with those of the
# others that are there: runc, bwrap (Debian: bubblewrap), unshare (util-linux).
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "spawn.sh: $*" >&2
    exit 1
}

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die 'namespaces, mounts and cgroups need root'
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    export PATH=$PATH:/usr/sbin:/sbin
    for tool in hyperfine jq busybox crun; do
        command -v "$tool" >/dev/null || die "$tool is missing"
    done
    cargo build --quiet --release -p rocker-cli --bin rocker
    cargo build --quiet --release --example contain
    release=$(realpath "${CARGO_TARGET_DIR:-target}")/$(rustc --print host-tuple)/release
    name=rocker-spawn-$$
    status=0
    tests/fake_host/enter.sh "$name" "$PWD/benches/spawn.sh" --inside "$release" "${1:-200}" || status=$?
    # In a hierarchy of v1 they may lie deeper than at the top.
    find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} +
    exit $status
fi

release=$2 runs=$3
bundle=/run/bundle
rocker=$release/rocker
contain=$release/examples/contain
# crun 1.8 refuses a host with both hierarchies; what is unmounted here is the fake host's own.
if [ -e /sys/fs/cgroup/unified ]; then
    umount /sys/fs/cgroup/unified
fi
mkdir "$bundle"
"$contain" prepare "$bundle"
cd "$bundle"

bwrap=(bwrap --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup --as-pid-1 --hostname contained
    --ro-bind rootfs / --proc /proc --dev /dev --mqueue /dev/mqueue --ro-bind /sys /sys)
# Those that the kernel does not have are not there to be hidden either.
while read -r path; do
    if [ -d "$path" ]; then
        bwrap+=(--tmpfs "$path")
    elif [ -e "$path" ]; then
        bwrap+=(--ro-bind /dev/null "$path")
    fi
done < <(jq --raw-output '.linux.maskedPaths[]' config.json)
while read -r path; do
    [ ! -e "$path" ] || bwrap+=(--ro-bind "$path" "$path")
done < <(jq --raw-output '.linux.readonlyPaths[]' config.json)

names=(crun 'rocker-ns, -fs, -cgroup' 'rocker run' runc bwrap unshare)
commands=(
    'crun run spawn'
    "$contain run $bundle spawn"
    "$rocker run --rm --network none --read-only contain /bin/true"
    'runc run spawn'
    "${bwrap[*]} /bin/true"
    'unshare --pid --fork --mount --net --ipc --uts --cgroup --root=rootfs --mount-proc /bin/true'
)
measured=()
for at in "${!names[@]}"; do
    command=${commands[at]}
    if ! command -v "${command%% *}" >/dev/null; then
        echo "not measured: ${command%% *} is not here"
        continue
    fi
    $command || die "exit status $?: $command"
    measured+=(--command-name "${names[at]}" "$command")
done

# One table: table TITLE OPTION...
table() {
    echo "$1"
    shift
    hyperfine --shell=none --style=none --warmup 10 --export-json times.json "$@" "${measured[@]}" >/dev/null 2>&1
    jq --raw-output '
        .results as $all | ($all[] | select(.command == "crun").median) as $crun
        | $all[] | [.command, (.median, .min | . * 10000 | round / 10), (.median / $crun * 100 | round / 100)] | @tsv
    ' times.json | awk -F '\t' '
        BEGIN { printf "  %-26s %10s %10s %9s\n", "", "median ms", "least ms", "to crun" }
        { printf "  %-26s %10.1f %10.1f %9.2f\n", $1, $2, $3, $4 }'
}

table 'one after the other' --runs "$runs"
table 'after a pause of 30 ms' --runs "$((runs / 4 + 1))" --prepare 'sleep 0.03'
