.DEFAULT_GOAL := help
LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.9.0
DEADCODE := go run golang.org/x/tools/cmd/deadcode@v0.45.0
ACTIONLINT := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# As the verbs take them: this machine's if empty, and assets to leave out.
ARCH ?=
WITHOUT ?=

.PHONY: help kata-tarball merge check test test-all configs kernel-debug lint fmt update bench bench-kernel bench-ccache bench-registry bench-archive verify-test

help: ## print this list
	@sed -nE 's/^([a-z%-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

%-tarball: ## build an asset, or take it from the cache: kernel-tarball, qemu-tarball; ARCH=s390x for another machine
	go run ./pipelines build-asset "$*" --arch "$(ARCH)"

kata-tarball: ## build all assets of a release, and merge them; WITHOUT=qemu,ovmf leaves some out
	go run ./pipelines build-asset --set kata-static --arch "$(ARCH)" --without "$(WITHOUT)" && go run ./pipelines merge kata-static --arch "$(ARCH)" --without "$(WITHOUT)"

merge: ## merge what is built into build/kata-static.tar.zst
	go run ./pipelines merge kata-static --arch "$(ARCH)" --without "$(WITHOUT)"

check: ## check versions.yaml, the assets and the kernel configurations
	go run ./pipelines check

test: ## the fast tests: no engine, no network
	go test ./...

test-all: ## all tests but the full kernel, in a real engine: the README's command
	go test -tags integration -timeout 60m ./...

configs: ## configure all kernels with the real tree, in the folder SOURCES of sources, and assert every option
	pipelines/scripts/configs.sh "$(SOURCES)"

kernel-debug: ## build the debug kernel twice from empty caches and compare (half an hour)
	pipelines/scripts/twice.sh kernel-debug

lint: ## golangci-lint, with the import walls, dead code, go.mod, shellcheck, and actionlint
	$(LINT) run --build-tags integration,bench ./...
	@dead="$$($(DEADCODE) -test -tags integration,bench ./...)" && if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi
	go mod tidy -diff
	shellcheck -x -P SCRIPTDIR assets/*/*.sh pipelines/scripts/*.sh
	$(ACTIONLINT)

fmt: ## format the Go code
	$(LINT) fmt ./...

update: ## write the golden files of the tests anew
	go test ./... -update

bench: ## measure the engine's start and a hit in the cache
	pipelines/scripts/bench.sh

bench-kernel: ## measure the kernel build against a plain chroot (half an hour)
	pipelines/scripts/bench-kernel.sh

bench-ccache: ## measure a kernel build after one changed option against the first (half an hour)
	pipelines/scripts/bench-ccache.sh kernel

bench-registry: ## measure the registry tier beside the oras CLI (a minute)
	go test -tags bench -count=1 -run TestRegistrySpeed -v ./pipelines

bench-archive: ## measure tarballs beside GNU tar, zstd -10 and cat (ten minutes, 11 GB in TMPDIR)
	go test -tags bench -count=1 -timeout 60m -run 'TestArchive(Size|Speed)' -v ./pipelines

verify-test: ## test verify on the real kernel in build/: it boots, hangs and panics
	KATA_TEST_KERNEL_TARBALL="$(CURDIR)/build/kata-static-kernel-debug.tar.zst" go test -tags integration -count=1 ./pipelines/internal/verify/
