# Rampart. "make" alone lists the targets; "make demo" and "make test" need Go and git only.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go
# The tools of "make check" live in a module of their own, so that users of the library never download them.
TOOL = $(GO) tool -modfile=$(CURDIR)/tools/go.mod
COMMANDS = propose reconcile evaluate notary
FUZZTIME ?= 30s
BENCH ?= .
BENCHTIME ?= 1s
SEED ?= 0
MINUTES ?= 3

.PHONY: help build demo setup test race fuzz bench chaos cover golden docs man lint check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-8s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the commands into bin/
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ $(wildcard $(COMMANDS:%=./cmd/%))

demo: ## the main job on embedded defaults: a signed change goes live, a forged one does not
	@$(GO) run ./cmd/reconcile demo

setup: ## install what the tests use (redis-server, chromium, ...) with the system's package manager, where it can
	@./scripts/setup

test: setup ## every test, against real servers
	@./scripts/test

race: ## every test of the libraries with the race detector
	$(GO) test -race -timeout 20m ./...

fuzz: ## each fuzz target for FUZZTIME (30s)
	@./scripts/fuzz $(FUZZTIME)

bench: ## every benchmark, side by side in one run (BENCH=regexp, BENCHTIME=1s); all of them make docs/benchmarks.md
	@mkdir -p dist
	set -o pipefail; $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 60m ./... | tee dist/bench.txt
	@[ '$(BENCH)' != . ] || $(GO) run ./bench/page --command 'make bench BENCHTIME=$(BENCHTIME)' <dist/bench.txt

chaos: ## real processes under faults, and what must always hold (SEED=a number to replay, MINUTES=3)
	cd chaos && $(GO) run . -seed $(SEED) -for $(MINUTES)m -out ../dist/chaos

cover: ## coverage of the libraries, by function
	$(GO) test -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out | tail -n 1

golden: ## rewrite golden files (help texts, tables) after a deliberate change
	UPDATE_GOLDEN=1 $(GO) test ./...

docs: ## the documentation as a site in dist/site, which works from disk
	@cd docs/site && $(GO) run . -src ../.. -out ../../dist/site

man: build ## man pages and shell completions of all commands in dist/share, laid out as below /usr/share
	@for c in $(COMMANDS); do bin/$$c packaging dist/share || exit 1; done; echo dist/share

lint: check

check: ## formatting, vet, staticcheck, govulncheck, tidy, import rules, workflow lint
	@GO="$(GO)" TOOL="$(TOOL)" ./scripts/check

clean: ## remove what the targets above made
	rm -rf bin dist coverage.out
