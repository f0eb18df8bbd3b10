#!/bin/bash
# Compares the benchmarks of single functions as they are here, uncommitted changes included, with those of the revision $BASE. Builds the test programs of
# each package that has some in both, runs them by turns, $COUNT times each (10 unless set), so that a busy moment befalls both, and prints benchstat's
# comparison. $BENCHTIME (200ms) is how long each benchmark is; $BENCH is a pattern for their names, $PACKAGES one for the packages' folders.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() { echo "benchstat: $1" >&2; exit 2; }
count=${COUNT:-10}
[[ -n ${BASE:-} ]] || refuse "BASE is not set: name the commit to compare with, as in make benchstat BASE=main"
commit=$(git rev-parse --verify --quiet --end-of-options "$BASE^{commit}") || refuse "find BASE: $BASE is no commit, branch or tag of this repository"
[[ $count =~ ^[1-9][0-9]*$ ]] || refuse "read COUNT: $count is not a number of runs"

benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOFLAGS='' go run "$benchstat" /dev/null # now: a network that is down is not to be learned of when all is measured

here=$PWD
work=$(mktemp -d)
base=$work/tree
trap 'cd "$here"; git worktree remove --force "$base" 2>/dev/null || true; rm -rf "$work"; git worktree prune' EXIT
trap 'exit 130' INT TERM
git worktree add --quiet --detach "$base" "$commit"
# Both use the same servers: what is compared is this code.
export PERSISTD_NATS_SERVER=${PERSISTD_NATS_SERVER:-$here/bin/nats-server} PERSISTD_MYSQL_HOME=${PERSISTD_MYSQL_HOME:-$here/.cache/mysql}

# packages lists the folders with benchmarks of the tree in $1.
packages() {
  (cd "$1" && git grep --untracked -l '^func Benchmark' -- '*_test.go' ':!adapters' || true) | xargs -r -n 1 dirname | sort -u
}
all=$(comm -12 <(packages "$base") <(packages "$here") | grep -E -- "${PACKAGES:-.}" || true)
[[ -n $all ]] || refuse "no package has benchmarks here and at $BASE${PACKAGES:+ and is called like $PACKAGES}"

for package in $all; do
  program=${package//\//-}.test
  (cd "$base/$package" && go test -c -o "$work/base-$program" .)
  (cd "$here/$package" && go test -c -o "$work/here-$program" .)
done
for ((i = 0; i < count; i++)); do
  echo "benchstat: run $((i + 1)) of $count" >&2
  order='base here'
  if ((i % 2)); then order='here base'; fi # whoever goes first finds another machine than who goes second
  for package in $all; do
    program=${package//\//-}.test
    for side in $order; do
      (cd "${!side}/$package" && "$work/$side-$program" -test.run '^$' -test.bench "${BENCH:-.}" -test.benchtime "${BENCHTIME:-200ms}" -test.benchmem \
        -test.timeout 30m) >"$work/out" || { cat "$work/out" >&2; echo "benchstat: run $package of $side: failed, see above" >&2; exit 1; }
      cat "$work/out" >>"$work/$side.txt"
    done
  done
done
GOFLAGS='' go run "$benchstat" "$(git rev-parse --short "$commit")=$work/base.txt" "here=$work/here.txt"
