# What a developer types. `make help` lists it.
SHELL := /bin/bash
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sealrt/tools
export CGO_ENABLED ?= 0

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: build
build: ## build bin/sealrt
	go build -trimpath -ldflags "-s -w" -o bin/sealrt ./cmd/sealrt

.PHONY: test
test: ## all tests that need neither root nor a network beyond the module proxy
	go vet ./...
	go test ./...

.PHONY: race
race: ## the same tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=10 go test -race ./... # commands that tests start need not wait a second at their end

.PHONY: lint
lint: $(TOOLS)/golangci-lint-v2.12.2 ## golangci-lint, gofmt, shell scripts, the darwin build
	GOLANGCI_LINT_CACHE=$(CURDIR)/bin/lint-cache $< run ./... # its findings name files of the checkout that they were found in
	GOOS=darwin go build -o /dev/null ./cmd/sealrt
	for f in $$(git ls-files '*.sh' .ci/run); do bash -n $$f || exit 1; done

$(TOOLS)/golangci-lint-v2.12.2:
	mkdir -p $(TOOLS)/tmp
	GOBIN=$(TOOLS)/tmp go install $(GOLANGCI)
	mv $(TOOLS)/tmp/golangci-lint $@

.PHONY: demo
demo: ## a cluster on this machine, from source to a Service that answers (root, Debian)
	e2e/demo.sh up

.PHONY: demo-down
demo-down: ## remove what the demo made
	e2e/demo.sh down

.PHONY: e2e
e2e: ## the demo's way as a test: real registry, real hosts, real cluster (root, Debian)
	e2e/said.sh bin/e2e.log go test -tags e2e -count=1 -timeout 75m -v ./e2e
	e2e/said.sh bin/buildkit.log go test -tags e2e -count=1 -timeout 20m -v ./e2e/buildkit

.PHONY: e2e-full
e2e-full: e2e ## e2e, and the demo on a machine that has nothing (a quarter of an hour more)
	e2e/fresh.sh

.PHONY: e2e-k3s
e2e-k3s: ## the life of a real k3s: K3S=FILE INSTALL=k3s-install.sh IMAGES=ARCHIVE, and NEXT_... of a later release (root, Debian)
	$(foreach v,K3S INSTALL IMAGES NEXT_K3S NEXT_INSTALL NEXT_IMAGES,$(v)='$(if $($(v)),$(abspath $($(v))))') \
		go test -tags e2e,k3s -count=1 -timeout 60m -v -run 'TestRealK3s$(if $(STATION),/$(STATION))' ./e2e

.PHONY: e2e-k0s
e2e-k0s: ## the life of a real k0s: K0S=FILE IMAGES=BUNDLE, FILES=FOLDER for what it does not embed, NEXT_... (root, Debian)
	$(foreach v,K0S IMAGES FILES NEXT_K0S NEXT_IMAGES NEXT_FILES,$(v)='$(if $($(v)),$(abspath $($(v))))') \
		go test -tags e2e,k0s -count=1 -timeout 60m -v -run 'TestRealK0s$(if $(STATION),/$(STATION))' ./e2e

WORK ?= all
.PHONY: bench
bench: build ## sealrt side by side with its peers; WORK="w1 w3": only these (root, Debian; half an hour)
	e2e/bench/peers.sh prepare
	e2e/bench/peers.sh $(WORK) $(CURDIR)/bin/sealrt

.PHONY: update
update: ## write golden files and docs/cli.md anew
	go test ./kubefile ./cmd/sealrt ./runtime/clusterfile ./distros/kubernetes ./distros/k3s -update
