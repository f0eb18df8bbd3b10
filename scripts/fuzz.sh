#!/bin/bash
# Runs every fuzz target of the repository, one after the other, each for $FOR (5s
# unless set) with $PARALLEL workers (1 unless set; so many inputs at a time). What
# makes a target fail is kept by go in testdata/fuzz of its package: commit it with
# the fix, and `go test` runs it from then on. TARGETS is a pattern for their names.
set -euo pipefail
cd "$(dirname "$0")/.."

for=${FOR:-5s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
printf '%-18s %-16s %12s %12s %8s\n' package target inputs 'new in cache' outcome
while IFS=: read -r file _ line; do
  target=${line#func }
  target=${target%%(*}
  [[ $target =~ ${TARGETS:-.} ]] || continue
  package=./$(dirname "$file")
  outcome=clean
  # Minimizing an input that is merely new is bounded: it would go on for a minute.
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$for" -fuzzminimizetime 1s -parallel "${PARALLEL:-1}" "$package" >"$log" 2>&1 || outcome=FAILED
  read -r inputs new < <(sed -n 's/.*execs: \([0-9]*\).*new interesting: \([0-9]*\).*/\1 \2/p' "$log" | tail -n 1) || true
  printf '%-18s %-16s %12s %12s %8s\n' "${package#./*/}" "$target" "${inputs:-0}" "${new:-0}" "$outcome"
  if [[ $outcome == FAILED ]]; then
    failed=1
    sed 's/^/    /' "$log"
  fi
done < <(git grep -n '^func Fuzz' -- '*_test.go' ':!adapters')
exit $failed
