#!/bin/bash
# The linker for a compiler that is built with AddressSanitizer (CATENA_LLD): the compiler links libraries against the libc of its
# own process, which it finds by printf's address, and there that is AddressSanitizer's printf. LLD is the real linker.
set -euo pipefail
arguments=()
for argument in "$@"; do
    case $argument in
    */libasan.so* | */libubsan.so*) argument=$(gcc -print-file-name=libc.so.6) ;;
    esac
    arguments+=("$argument")
done
exec "$LLD" "${arguments[@]}"
