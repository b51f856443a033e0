#!/bin/sh
# Compiles one of our own crates with the counters that libFuzzer reads. Cargo calls it in place of
# the compiler for the crates of the workspace only, so that what they depend on is built once for
# tests and fuzzing alike.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
