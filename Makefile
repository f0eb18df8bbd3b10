# The one interface, for people and for CI. `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Pinned. The path carries the version, so another one is another file.
GOLANGCI_VERSION := v2.15.0
GOLANGCI := .cache/bin/$(GOLANGCI_VERSION)/golangci-lint

# The servers are real, so a test's outcome is not cached. The longest package takes
# minutes, on a busy machine many.
GO_TEST := go test -count=1 -timeout 40m

# A nested module keeps its dependencies to itself; what checks one checks all. Each is
# entered by a shell of its own.
MODULES := . adapters/langgraphgo

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-zA-Z_-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ run

.PHONY: demo
demo: deps build ## lose nothing, watched: 50 workers, a killed daemon, a killed database
	@bin/persistd demo

.PHONY: dev
dev: deps build ## persistd with a private nats-server and MariaDB, data in ./.persistd
	@bin/persistd dev

##@ build

.PHONY: deps
deps: ## install what is missing: MariaDB's server program, Galera, a C compiler; starts nothing
	@scripts/install-deps.sh

.PHONY: deps-mysql
deps-mysql: ## unpack a real MySQL into .cache/mysql, apart from the system
	@scripts/install-mysql.sh

.PHONY: build
build: bin/persistd bin/nats-server ## build bin/persistd and bin/nats-server

# Go knows best what is out of date.
.PHONY: bin/persistd
bin/persistd:
	@CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/persistd

.PHONY: bin/nats-server
bin/nats-server:
	@CGO_ENABLED=0 go build -ldflags '-s -w' -o $@ github.com/nats-io/nats-server/v2

.PHONY: image
image: ## write the container image to dist/persistd-image.tar, without Docker
	@mkdir -p dist
	@go run ./deploy/image -o dist/persistd-image.tar

##@ check

.PHONY: test
test: deps build ## run every test on a private MariaDB and nats-server, race detector on
	@for m in $(MODULES); do (cd $$m; PERSISTD_TEST_ENGINE=mariadb $(GO_TEST) -race ./...); done
	@$(MAKE) allocs
	@$(MAKE) simulate

# Without the race detector, under which some of them can count nothing: it has pools forget
# things. What counts allocations is found by what it calls, whatever its name is.
.PHONY: allocs
allocs: bin/nats-server ## count what a step allocates on its way, against what it may
	@files=$$(git grep --untracked -l 'testing\.AllocsPerRun' -- '*_test.go' ':!adapters'); \
	  names=$$(awk '/^func /{test = match($$2, /^Test[^(]*/) ? substr($$2, 1, RLENGTH) : ""} \
	    /testing\.AllocsPerRun/{if (!test) {print FILENAME ": call AllocsPerRun in the test itself" >"/dev/stderr"; exit 1}; print test}' $$files | sort -u | paste -sd'|'); \
	  go test -count=1 -timeout 10m -run "^($$names)$$" $$(dirname $$files | sort -u | sed 's|^|./|')

# What runs no database is tested once, and races are found on MariaDB.
.PHONY: test-mysql
test-mysql: deps deps-mysql build ## run the tests that have a database on MySQL
	@for m in $(MODULES); do (cd $$m; PERSISTD_TEST_ENGINE=mysql $(GO_TEST) \
	  $$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | awk '/internal\/devstack/ {print $$1}')); done

.PHONY: fuzz
fuzz: deps ## run every fuzz target for a time (FOR=10m each, 5s by default); the corpus runs in make test
	@scripts/fuzz.sh

.PHONY: mutants
mutants: deps build ## break the code, a line at a time, and see the invariants' tests notice (SHORT=1, ONLY=I3)
	@go run ./internal/mutants $(if $(SHORT),-quick) $(if $(ONLY),-only '$(ONLY)')

# Without the race detector, unless RACE=1: more happens in the same time. The time is
# shared by what befalls processes and what befalls connections.
.PHONY: chaos
chaos: deps bin/nats-server ## kill processes and spoil the network for a while (FOR=10m SEED=7 STEPS=file RACE=1)
	@PERSISTD_CHAOS_FOR=$(or $(FOR),10m) PERSISTD_CHAOS_SEED=$(SEED) PERSISTD_CHAOS_STEPS=$(abspath $(STEPS)) \
	  go test $(if $(RACE),-race) -count=1 -timeout 0 -v -run NothingIsLost ./internal/chaos

# In virtual time, and without the race detector, which `test` runs some of them with.
.PHONY: simulate
simulate: ## run 10,000 schedules of faults in memory (SCHEDULES=100000 SEED=7 for others)
	@PERSISTD_SIMULATION_SCHEDULES=$(SCHEDULES) PERSISTD_SIMULATION_SEED=$(SEED) \
	  go test -count=1 -timeout 24h -v -run 'HoldUnderRandomSchedules' ./internal/simulation | grep -v '^ *=== '

.PHONY: drill
drill: deps build ## dump the database, go on (FOR=1m), restore the dump under running daemons (ENGINE=mysql)
	@PERSISTD_TEST_ENGINE=$(or $(ENGINE),mariadb) $(if $(FOR),PERSISTD_DRILL_FOR=$(FOR)) go test -count=1 -timeout 60m -v -run 'RestoredFromADump' ./cmd/persistd \
	  | grep -vE '^=== |"level"'

# Some 25 minutes on two cores that have nothing else to do. An interrupted run (130) leaves what it found in dist/ and the document as it was; a scenario that
# fails is named in the document, beside what the others found. With BENCHTIME, as in CI, everything runs once, tiny, to see that it works, and no document is
# written.
.PHONY: bench
bench: deps build ## measure persistd beside its alternatives, write docs/benchmarks.md (ROUNDS=7 STEPS=file SIZE=256,1KiB ENGINE=mysql)
	@if [[ -n "$(BENCHTIME)" ]]; then bin/persistd bench --short >/dev/null; else \
	  [[ -n "$(STEPS)" ]] || echo "bench: docs/benchmarks.md will have no figures of real steps, and lose those that it has: STEPS=file measures them" >&2; \
	  mkdir -p dist; status=0; \
	  bin/persistd bench -o markdown $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(SIZE),--size=$(SIZE)) \
	    $(if $(STEPS),--steps='$(STEPS)') $(if $(ENGINE),--engine=$(ENGINE)) >dist/benchmarks.md || status=$$?; \
	  if (( status <= 1 )) && [[ -s dist/benchmarks.md ]]; then cp dist/benchmarks.md docs/benchmarks.md; fi; \
	  exit $$status; fi
	@$(MAKE) microbench

.PHONY: microbench
microbench: deps bin/nats-server ## run the benchmarks of single functions (BENCHTIME=5x for five rounds of each)
	@go test -run '^$$' -bench . $(if $(BENCHTIME),-benchtime $(BENCHTIME)) -timeout 30m ./...

.PHONY: benchstat
benchstat: deps bin/nats-server ## compare microbench here with BASE=main's, by turns (PACKAGES=wire BENCH=Decode COUNT=10)
	@BASE='$(BASE)' scripts/benchstat.sh

.PHONY: lint
lint: $(GOLANGCI) ## run the linters (the first time builds them: 4 minutes of CPU)
	@for m in $(MODULES); do (cd $$m; $(abspath $(GOLANGCI)) run ./...); done

.PHONY: fmt
fmt: $(GOLANGCI) ## format all Go files
	@for m in $(MODULES); do (cd $$m; $(abspath $(GOLANGCI)) fmt ./...); done

.PHONY: verify
verify: ## check that each go.mod is tidy, modules are what go.sum says, files are formatted
	@for m in $(MODULES); do (cd $$m; go mod tidy -diff; go mod verify >/dev/null); done
	@unformatted=$$(git ls-files -z '*.go' | xargs -0 -r gofmt -l); \
	if [[ -n $$unformatted ]]; then echo "not formatted (make fmt):" $$unformatted >&2; exit 1; fi

# One after the other, each with its time; the demo twice, for it must not leave
# anything behind that disturbs the next. The benchmarks run once, so that they do not rot.
CI_STAGES := verify lint test test-mysql mutants image bench demo demo
ci: export BENCHTIME := 1x
ci: export SHORT := 1

.PHONY: ci
ci: ## everything above, as CI runs it
	@for stage in $(CI_STAGES); do \
	  echo "== make $$stage"; began=$$SECONDS; \
	  $(MAKE) $$stage; \
	  echo "== make $$stage: $$((SECONDS - began)) s"; \
	done

.PHONY: clean
clean: ## remove what was built; .cache (tools, MySQL) and .persistd (your data) stay
	@rm -rf bin dist

# Built aside and renamed: an interrupted build leaves nothing that looks finished.
# It must run on this machine, whatever GOOS is being built for.
$(GOLANGCI):
	@echo "lint: building golangci-lint $(GOLANGCI_VERSION)"
	@rm -rf $(@D).new && mkdir -p $(@D).new
	@GOBIN=$(abspath $(@D).new) GOFLAGS= GOOS= GOARCH= \
	  go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) 2>&1 | grep -v '^go: downloading' || true
	@rm -rf $(@D) && mv $(@D).new $(@D) && test -x $@
