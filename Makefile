.DEFAULT_GOAL := help
LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.9.0
DEADCODE := go run golang.org/x/tools/cmd/deadcode@v0.45.0
ACTIONLINT := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
EDITORCONFIG := go run github.com/editorconfig-checker/editorconfig-checker/v3/cmd/editorconfig-checker@v3.4.0
CSPELL := npx --yes cspell@9.2.1
# The architecture, by default this machine's, and assets to leave out.
ARCH ?=
WITHOUT ?=
# How long each fuzz target runs, and the first seed of the random faults.
TIME ?= 1m
SEED ?= 1
CRATES ?=
AGENT ?=
PAYLOAD ?=

.PHONY: help kata-tarball merge check bump-pull-request test test-all faults fuzz configs kernel-debug lint fmt update bench bench-kernel bench-qemu bench-ovmf bench-ccache test-ccache bench-image bench-rebuild bench-boot bench-registry bench-trust bench-archive bench-crates bench-import bench-installer verify-test style

help: ## print this list
	@sed -nE 's/^([a-z%-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

%-tarball: ## build an asset or take it from the cache: kernel-tarball, qemu-tarball; ARCH=s390x for another architecture
	go run ./pipelines build-asset "$*" --arch "$(ARCH)"

kata-tarball: ## build all assets of a release and merge them; WITHOUT=qemu,ovmf leaves some out
	go run ./pipelines build-asset --set kata-static --arch "$(ARCH)" --without "$(WITHOUT)" && go run ./pipelines merge kata-static --arch "$(ARCH)" --without "$(WITHOUT)"

merge: ## merge the built assets into build/kata-static.tar.zst
	go run ./pipelines merge kata-static --arch "$(ARCH)" --without "$(WITHOUT)"

faults: ## random faults: broken connections, lying registries, full disks, damaged files, kills (half an hour); SEED=1
	go test -count=1 -timeout 120m -run TestFaults -v ./pipelines -faults.seed "$(SEED)" -faults.runs 300

check: ## check versions.yaml, the assets and the kernel configurations
	go run ./pipelines check

bump-pull-request: ## move what is behind to the newest versions and open a pull request: the workflow bump
	pipelines/scripts/bump.sh

test: ## the fast tests: no engine, no network
	go test ./...

test-all: ## all tests except the full kernel, with a real engine
	go test -tags integration -timeout 60m ./...

configs: ## configure all kernels with the sources in the folder SOURCES and check every option
	pipelines/scripts/configs.sh "$(SOURCES)"

kernel-debug: ## build the debug kernel twice from empty caches and compare (half an hour)
	pipelines/scripts/twice.sh kernel-debug

lint: ## golangci-lint with the import walls, dead code, go.mod, known vulnerabilities, shellcheck, actionlint
	$(LINT) run --build-tags integration,bench ./...
	@dead="$$($(DEADCODE) -test -tags integration,bench ./...)" && if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi
	GOOS=darwin go vet $$(GOOS=darwin go list ./... | grep -v /kata-deploy) # a node runs Linux
	go mod tidy -diff
	pipelines/scripts/vulnerabilities.sh
	shellcheck -x -P SCRIPTDIR assets/*/*.sh assets/kata-deploy/chart/*.sh pipelines/scripts/*.sh
	$(ACTIONLINT)

style: ## spelling of the documents, editorconfig, security of the workflows; needs node and python3
	$(CSPELL) lint --no-progress --no-summary
	$(EDITORCONFIG)
	pipelines/scripts/zizmor.sh

fmt: ## format the Go code
	$(LINT) fmt ./...

update: ## rewrite the golden files of the tests
	go test ./... -update

bench: ## measure the start of the engine and a cache hit
	pipelines/scripts/bench.sh

bench-kernel: ## compare the compilation of parts of a kernel with a plain chroot, in turns (ten minutes)
	pipelines/scripts/bench-build.sh kernel-debug

bench-qemu: ## compare builds of QEMU with a plain chroot (half an hour)
	pipelines/scripts/bench-build.sh qemu

bench-ovmf: ## compare builds of OVMF with a plain chroot (half an hour)
	pipelines/scripts/bench-build.sh ovmf

bench-image: ## compare the making of a guest's image with the way of loop devices (some minutes)
	pipelines/scripts/bench-image.sh

bench-rebuild: ## compare the build of an image after only the agent changed with a cold one (some minutes); AGENT=PATH
	pipelines/scripts/bench-image.sh --agent "$(AGENT)"

bench-boot: ## compare the boots of image and initrd until the agent AGENT answers (some minutes)
	pipelines/scripts/bench-boot.sh "$(AGENT)"

bench-ccache: ## compare a kernel build after one changed option with the first (half an hour)
	pipelines/scripts/bench-ccache.sh kernel

test-ccache: ## compare objects from ccache after changed options with objects compiled without it (ten minutes)
	pipelines/scripts/test-ccache.sh

bench-registry: ## compare the registry with the oras CLI (a minute)
	go test -tags bench -count=1 -run TestRegistrySpeed -v ./pipelines

bench-gc: ## collect 10,000 entries of a registry on loopback (some minutes)
	go test -tags bench -count=1 -timeout 30m -run TestCollectBench -v ./pipelines/internal/store

bench-trust: ## compare a hit whose signature is checked with one that is not (a minute)
	go test -tags bench -count=1 -run TestTrustSpeed -v ./pipelines

bench-crates: ## compare the download of crates with cargo fetch (two minutes); CRATES names a folder with a Cargo.lock
	KATA_BENCH_CRATES="$(CRATES)" go test -tags bench -count=1 -run TestCrateSpeed -v ./pipelines/internal/source

bench-archive: ## compare tarballs with GNU tar, zstd -10 and cat (ten minutes, 11 GB in TMPDIR)
	go test -tags bench -count=1 -timeout 60m -run 'TestArchive(Size|Speed)' -v ./pipelines

bench-installer: ## install one shim, against unpacking a whole payload: time, bytes, memory; PAYLOAD=opt/kata-artifacts of an image
	go test -tags bench -count=1 -run TestOneShimAgainstAll -v ./pipelines/kata-deploy/internal/deploy -payload "$(PAYLOAD)"

bench-import: ## compare the import of a member of 1.5 GB with zstd and tar (five minutes, 6 GB in TMPDIR)
	go test -tags bench -count=1 -timeout 60m -run TestImportSpeed -v ./pipelines

fuzz: ## run every fuzz target for a time each: TIME=10m
	pipelines/scripts/fuzz.sh "$(TIME)"

verify-test: ## test verify with the real kernel in build/: boot, hang and panic
	KATA_TEST_KERNEL_TARBALL="$(CURDIR)/build/kata-static-kernel-debug.tar.zst" go test -tags integration -count=1 ./pipelines/internal/verify/kernel/ ./pipelines/internal/verify/rootfs/
