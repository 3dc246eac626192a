# Everything a developer or the CI does. `make` alone builds.
# Needs Go (the version in go.mod or newer); the rest is fetched by Go itself.

GO      ?= go
BIN     := bin/pipelined
LDFLAGS := -s -w
# Without them all works as well, but 3.6 MB larger: text/template calls methods by name, so
# that the linker keeps every exported method. They leave out its two uses: the debug pages
# of grpc, and cli's templates of help, which has the same text without them.
TAGS    := grpcnotrace,urfave_cli_no_template
PKGS    := ./...
TIMEOUT := 25m
# The race detector needs cgo, and so a C compiler.
CC_FOUND := $(shell command -v "$$($(GO) env CC | cut -d' ' -f1)" 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race,)

.DEFAULT_GOAL := build
.PHONY: build size test race lint arch ui ui-check ui-test deploy-test bench-ui screenshots recording site site-check e2e chaos attack examples bench check cover cross release release-test clean help

build: ## the binary, stripped, into bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o $(BIN) ./cmd/pipelined

.PHONY: man
man: build ## the manual pages and the completion scripts of shells, into bin/man and bin/completions, for packages
	@rm -rf bin/man bin/completions && mkdir -p bin/completions
	$(BIN) man bin/man
	@for s in bash zsh fish; do $(BIN) completion $$s >bin/completions/pipelined.$$s || exit 1; done

size: build ## an error if the binary has more than 32 MB
	@n=$$(wc -c <$(BIN)); echo "$(BIN): $$n bytes"; \
	  test $$n -le 32000000 || { echo "$(BIN) has $$n bytes, more than 32000000: docs/development.md, section Size, says what to look for" >&2; exit 1; }

test: ## every test; with the race detector where a C compiler is there
ifeq ($(RACE),)
	@echo "no C compiler ($$($(GO) env CC)) is here: the tests run without the race detector"
	CGO_ENABLED=0 $(GO) test -timeout $(TIMEOUT) $(PKGS)
else
	CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) $(PKGS)
endif

race: ## every test with the race detector, afresh; an error without a C compiler
	@test -n "$(RACE)" || { echo "make race: the race detector needs a C compiler, and $$($(GO) env CC) is not here" >&2; exit 2; }
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout $(TIMEOUT) $(PKGS)

lint: ## gofmt, go vet, staticcheck (its version is pinned in tools.mod)
	@out=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' | while read -r f; do test -f "$$f" && echo "$$f"; done)); \
	  if [ -n "$$out" ]; then echo "not formatted; run gofmt -w on:" >&2; echo "$$out" >&2; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) tool -modfile=tools.mod staticcheck $(PKGS)

arch: ## the rules about packages, imports and habits
	$(GO) test -count=1 ./test/arch

ui: ## the dashboard's bundle in api/ui/dist, out of api/ui/src; needs no Node
	cd api/ui/src && $(GO) run ./build

ui-check: ## an error if api/ui/dist is not what api/ui/src gives, or its types are wrong (PIPELINED_TEST_TSC: a tsc of TypeScript 7)
	cd api/ui/src && $(GO) vet ./... && $(GO) run ./build -check
	@if [ -n "$$PIPELINED_TEST_TSC" ]; then .ci/types "$$PIPELINED_TEST_TSC"; else echo "PIPELINED_TEST_TSC is not set: types are not checked"; fi

ui-test: build ## the dashboard in a real browser, on real clusters; needs chromium
	cd test/ui && $(GO) vet ./... && PIPELINED_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 15m ./...

deploy-test: build ## action.yml and the examples that deploy, on real agents
	cd test/deploy && $(GO) vet ./... && PIPELINED_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 10m ./... -tags-of-binary "$(TAGS)" -ldflags-of-binary "$(LDFLAGS)"

bench-ui: build ## figures of the dashboard in a real browser (docs/dashboard.md); needs chromium
	cd test/ui && PIPELINED_BIN=$(abspath $(BIN)) $(GO) test -run '^$$' -bench . -benchtime 1x -timeout 15m

screenshots: build ## the pictures of docs/dashboard.md, of real nodes and a real run; needs chromium and git
	cd test/ui && PIPELINED_BIN=$(abspath $(BIN)) PIPELINED_SCREENSHOTS=$(abspath docs/images) $(GO) test -count=1 -timeout 15m -run TestScreenshots -v ./...

recording: build ## the picture of README.md: a run on three nodes whose leader is killed
	PIPELINED_BIN=$(abspath $(BIN)) PIPELINED_RECORDING=$(abspath docs/images/recording.svg) $(GO) test -count=1 -timeout 5m -run TestRecording -v ./test/recording

site: ## the pages as a site with a search, in bin/site; an error if a link leads nowhere
	cd test/site && $(GO) run . -root ../.. -out ../../bin/site

site-check: ## the links between the pages, and the generator of the site
	cd test/site && $(GO) vet ./... && $(GO) test -count=1 ./...

e2e: ## the tests that drive real binaries, afresh
	$(GO) test -count=1 -timeout $(TIMEOUT) ./test/...

CHAOS_FOR    ?= 100m
CHAOS_FAULTS ?= 500
CHAOS_RUNS   ?= 15000
CHAOS_LIMIT  ?= 120m
chaos: build ## breaks a real cluster at random for up to two hours and checks everything; needs root and ip
	PIPELINED_BIN=$(abspath $(BIN)) PIPELINED_CHAOS=$(CHAOS_FOR) PIPELINED_CHAOS_FAULTS=$(CHAOS_FAULTS) PIPELINED_CHAOS_RUNS=$(CHAOS_RUNS) \
	  PIPELINED_CHAOS_LIMIT=$(CHAOS_LIMIT) PIPELINED_CHAOS_SEED=$(CHAOS_SEED) $(GO) test -count=1 -v -timeout 4h -run TestChaos ./test/chaos

examples: build ## runs every example with the built binary, in a state directory of its own
	@sh .ci/examples $(BIN)

attack: build ## hostile callers against real agents: every route, the ports below, memory (docs/SECURITY.md)
	PIPELINED_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 15m ./test/attack

bench: build ## the benchmark of docs/performance.md, with its floors and peers
	$(GO) run ./test/bench -bin $(BIN) $(BENCHFLAGS)

cross: ## what must build: the agent on both Linux platforms, the command line on macOS
	GOOS=linux GOARCH=amd64 CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o /dev/null ./cmd/pipelined
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o /dev/null ./cmd/pipelined
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o /dev/null ./cmd/pipelined

release: ## what users install, for all platforms, into bin/release; VERSION=1.2.3, else that of the commit
	cd internal/release && $(GO) run . $(if $(VERSION),-version "$(VERSION)") -tags "$(TAGS)" -ldflags "$(LDFLAGS)"

IMAGE ?= $(shell $(GO) env GOARCH)
.PHONY: image
image: ## the image of containers for this processor, into bin/image; IMAGE=amd64,arm64 for both, BASE=root.tar on a root of your own
	cd internal/release && $(GO) run . -out ../../bin/image -image "$(IMAGE)" $(if $(BASE),-base "$(abspath $(BASE))") \
	  $(if $(VERSION),-version "$(VERSION)") -tags "$(TAGS)" -ldflags "$(LDFLAGS)"

release-test: ## builds a release twice and compares every byte; installs, upgrades and removes the package in a root of Debian
	cd internal/release && $(GO) vet ./... && $(GO) test -count=1 -timeout 15m ./... -tags-of-binary "$(TAGS)" -ldflags-of-binary "$(LDFLAGS)"

check: lint arch cross size ui-check site-check test examples ui-test release-test deploy-test ## all that must hold before a change goes in; what CI runs

cover: ## statement coverage of the tests, in total and as a page
	@mkdir -p bin
	$(GO) test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=bin/cover.out $(PKGS)
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

clean: ## removes what was built
	rm -rf bin

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14
