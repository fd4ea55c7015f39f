#!/usr/bin/env bash
# What a container's cable carries, beside a plain veth pair: sudo -E benches/throughput.sh [SECONDS [ROUNDS]]
#
# iperf3, one stream of TCP, in a fake host (tests/fake_host/enter.sh): between two network namespaces that a veth pair connects,
# and nothing else; between two containers; and from a namespace on the host's wire to a container by a published port, beside the
# same namespace to the host. One after the other, in rounds, and the best of each counts: what is compared is what the way can
# carry, and not what else the machine did. Beside it stands how long the processors work for a gigabyte, in both iperf3 and in what passes
# on: where all of them share one processor, that is what the rate comes from. As root; needs busybox-static, iperf3 and jq.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "throughput.sh: $*" >&2
    exit 1
}

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die 'namespaces and bridges need root'
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    export PATH=$PATH:/usr/sbin:/sbin
    for tool in busybox iperf3 jq ip nsenter; do
        command -v "$tool" >/dev/null || die "$tool is missing"
    done
    cargo build --quiet --release -p rocker-cli --bin rocker
    release=$(realpath "${CARGO_TARGET_DIR:-target}")/$(rustc --print host-tuple)/release
    exec tests/fake_host/enter.sh "rocker-throughput-$$" "$PWD/benches/throughput.sh" --inside "$release" "${1:-3}" "${2:-3}"
fi

release=$2 seconds=$3 rounds=$4
PATH=$release:$PATH

# Two namespaces and a cable.
for end in 1 2; do ip netns add "plain$end"; done
ip link add plain netns plain1 type veth peer plain netns plain2
for end in 1 2; do
    ip -n "plain$end" addr add "192.0.2.$end/24" dev plain
    ip -n "plain$end" link set plain up
done
# A neighbour of the host.
ip netns add lan
ip link add wire0 type veth peer wire netns lan
ip addr add 198.51.100.2/24 dev wire0
ip link set wire0 up
ip -n lan addr add 198.51.100.1/24 dev wire
ip -n lan link set wire up

# Two containers: they run nothing, and iperf3 enters their networks.
mount -t tmpfs -o mode=700 tmpfs /var/lib/rocker
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /run/home /run/root/bin
export HOME=/run/home
cp "$(command -v busybox)" /run/root/bin/sleep
tar -C /run/root -c . | rocker import - sleeper >/dev/null
rocker run -d --name one sleeper sleep 100000 >/dev/null
rocker run -d --name two -p 5301:5201 sleeper sleep 100000 >/dev/null
pid() { rocker inspect -f '{{.State.Pid}}' "$1"; }
one="nsenter -t $(pid one) -n"
two="nsenter -t $(pid two) -n"
address=$(rocker inspect -f '{{.NetworkSettings.IPAddress}}' two)

for server in 'ip netns exec plain2' "$two" ''; do
    $server iperf3 -s -D
done
for _ in $(seq 100); do
    ! ss -Hlnt 'sport = 5201' | grep -q . || break
    sleep 0.05
done

# Who passes on is the parent of the container's process.
relay=$(awk '{ print $4 }' "/proc/$(pid two)/stat")
worked() { awk -v hertz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hertz }' "/proc/$relay/stat"; }

declare -A best=() least=()
# Measures one way: measure KEY CLIENT...
measure() {
    local key=$1 before rate work
    shift
    before=$(worked)
    "$@" -t "$seconds" -J >/run/measured.json
    rate=$(jq '.end.sum_received.bits_per_second / 1e9' /run/measured.json)
    work=$(jq --argjson relay "$(awk -v a="$(worked)" -v b="$before" 'BEGIN { print a - b }')" '.end
        | ((.cpu_utilization_percent | .host_total + .remote_total) / 100 * .sum_sent.seconds + $relay) / (.sum_received.bytes / 1e9)' /run/measured.json)
    best[$key]=$(printf '%s\n%s\n' "$rate" "${best[$key]-0}" | sort -g | tail -n 1)
    least[$key]=$(printf '%s\n%s\n' "$work" "${least[$key]-$work}" | sort -g | head -n 1)
}

for _ in $(seq "$rounds"); do
    measure plain ip netns exec plain1 iperf3 -c 192.0.2.2
    # shellcheck disable=SC2086 # commands
    measure containers $one iperf3 -c "$address"
    measure host ip netns exec lan iperf3 -c 198.51.100.2
    measure published ip netns exec lan iperf3 -c 198.51.100.2 -p 5301
    measure own iperf3 -c 127.0.0.1
    measure loopback iperf3 -c 127.0.0.1 -p 5301
done

called=$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0)
echo "kernel $(uname -r), $(nproc) processors, $seconds s, best of $rounds; bridge-nf-call-iptables=$called"
printf '\n| %-52s | %7s | %9s | %9s |\n|%s|%s|%s|%s|\n' '' 'Gbit/s' 'to plain' 'CPU s/GB' \
    ------------------------------------------------------ --------: ----------: ----------:
row() {
    awk -v what="$2" -v rate="${best[$1]}" -v plain="${best[plain]}" -v work="${least[$1]}" \
        'BEGIN { printf "| %-52s | %7.1f | %9.2f | %9.2f |\n", what, rate, rate / plain, work }'
}
row plain 'a plain veth pair'
row containers 'container to container'
row host 'a neighbour to the host'
row published 'a neighbour to a container, by a published port'
row own "the host's loopback alone"
row loopback "the host's loopback to a container, by the relay"
rocker rm -f one two >/dev/null
