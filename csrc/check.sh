#!/bin/sh
# Builds csrc/ with sanitizers, without Python, and runs test_csrc.c.
# usage: sh csrc/check.sh native|threads
#   native: AddressSanitizer and UndefinedBehaviorSanitizer    threads: ThreadSanitizer
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
native) sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
threads) sanitizers="-fsanitize=thread" ;;
*)
    echo "usage: sh csrc/check.sh native|threads" >&2
    exit 2
    ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2046,SC2086
${CC:-cc} -std=gnu11 -O1 -g -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Werror $sanitizers \
    -Icsrc $(find csrc -name '*.c') -o "$folder/test" -pthread -lm -ffp-contract=off
"$folder/test"
