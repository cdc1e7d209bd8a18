#!/usr/bin/env bash
# said.sh LOG COMMAND...: runs a go test and keeps what it prints in LOG. Where
# tests failed, their last words come once more at the end, and their names last:
# the beginning of half an hour of output is often cut off where it is read.
set -uo pipefail
log=$1
shift
mkdir -p "$(dirname "$log")"
"$@" 2>&1 | tee "$log"
rc=${PIPESTATUS[0]}
[ "$rc" -ne 0 ] || exit 0
failed='^ *--- FAIL|^panic:|^fatal error:'
printf '\n=== last words, whole in %s\n' "$log"
grep -E -B12 "$failed" "$log" | cut -c1-240 | tail -120
printf '\n=== failed\n'
grep -E "$failed" "$log"
exit "$rc"
