#!/bin/sh
# Builds csrc/ and its tests, without Python, and runs them.
# usage: sh csrc/check.sh native|threads|emulate|arm64...
#   native   AddressSanitizer and UndefinedBehaviorSanitizer
#   threads  ThreadSanitizer
#   emulate  as native, with every x86 kernel on any CPU: intrinsics in plain C (Debian: libsimde-dev)
#   arm64    cross-compiled, under qemu, with dot products and without (Debian: gcc-aarch64-linux-gnu
#            libc6-dev-arm64-cross qemu-user)
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# usage: build NAME COMPILER-AND-FLAGS; the sources in parallel, -ffp-contract=off last
build() {
    name=$1
    shift
    mkdir "$folder/$name"
    # SIMDe's vectors do not fit the registers that peaks.c measures
    skip=$([ "$name" = emulate ] && echo peaks.c || echo nothing)
    find csrc -name '*.c' ! -name "$skip" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I FILE sh -c '
        object=$1/$(echo "$0" | tr / _).o
        shift
        "$@" -c "$0" -o "$object" -ffp-contract=off || exit 255' \
        FILE "$folder/$name" "$@" -std=gnu11 -g1 -pthread -Icsrc
    "$@" "$folder/$name"/*.o -o "$folder/$name/test" -pthread -lm
}

warnings="-Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Werror"
memory="-fsanitize=address,undefined -fno-sanitize-recover=all"
[ $# -gt 0 ] || set -- help
for part; do
    echo "== $part"
    case $part in
    native)
        build native ${CC:-cc} -O1 $warnings $memory
        "$folder/native/test"
        ;;
    threads)
        build threads ${CC:-cc} -O1 $warnings -fsanitize=thread
        "$folder/threads/test" no-forks
        ;;
    emulate) # SIMDe's own sums of int wrap, and its functions pass vectors that the CPU may not have
        build emulate ${CC:-cc} -O1 $warnings -Wno-psabi $memory -fwrapv -DSP_EMULATE \
            -Icsrc/emulate
        "$folder/emulate/test"
        ;;
    arm64)
        build arm64 "${ARM64_CC:-aarch64-linux-gnu-gcc}" -O3 $warnings -static
        for cpu in max cortex-a72; do
            echo "-- $cpu"
            qemu-aarch64 -cpu "$cpu" "$folder/arm64/test" no-forks
        done
        ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' csrc/check.sh >&2
        exit 2
        ;;
    esac
done
