# What a person types. Every target works from a fresh clone; `make deps` first on a fresh machine.
.PHONY: help deps cluster cluster-down build dist demo test lint fuzz perf perf-quick perf-scale images manifests conformance e2e e2e-images clean

CARGO ?= cargo
FUZZ_SECONDS ?= 30
MEASURED := $(CURDIR)/target/dist:$(CURDIR)/target/release
FUZZ_TARGETS := authority hbone_server hbone_client hpack xds zds policy
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

deps: ## install the system packages that are missing (as root; otherwise name them)
	@tests/deps.sh

build: ## all programs, optimised, in target/release
	$(CARGO) build --release --workspace

demo: build ## two nodes, a mesh and nine checks on real traffic
	target/release/culvert demo $(DEMO_ARGS)

test: build ## unit, property and network-namespace tests
	$(CARGO) test --release --workspace

lint: ## formatting, clippy, documentation, dependency audit
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --release --workspace --no-deps --quiet
	@$(CARGO) deny --version 2>/dev/null | grep -q ' $(CARGO_DENY)$$' || $(CARGO) install --debug --locked --quiet cargo-deny@$(CARGO_DENY)
	$(CARGO) deny --log-level error check bans licenses sources
	@tests/advisories.sh

fuzz: ## build every fuzz target and run each for FUZZ_SECONDS
	@$(CARGO) fuzz --version 2>/dev/null | grep -q ' $(CARGO_FUZZ)$$' || $(CARGO) install --debug --locked --quiet cargo-fuzz@$(CARGO_FUZZ)
	cd tests/fuzz && for t in $(FUZZ_TARGETS); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir . $$t -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 || exit 1; done

cluster: ## a Kubernetes of two nodes on this machine, to keep open (as root; CLUSTER_ARGS="--dual-stack")
	tests/cluster/cluster up $(CLUSTER_ARGS)

cluster-down: ## stop it, and leave nothing of it
	tests/cluster/cluster down

dist: ## the data plane as it is shipped: optimised across crates, in target/dist
	$(CARGO) build --profile dist --workspace --bin culvert-ztunnel --bin culvert-waypoint

perf: build dist ## everything beside a stock ztunnel, in an hour (ZTUNNEL=PATH; PERF_ARGS="--check")
	CULVERT_BIN=$(MEASURED) target/release/culvert-perf run $(PERF_ARGS)

perf-quick: build dist ## the same in short, in 3 minutes (ZTUNNEL=PATH for the comparison)
	CULVERT_BIN=$(MEASURED) target/release/culvert-perf run --quick $(PERF_ARGS)

images: ## container images of all programs in target/images, without a daemon (ARCH=arm64 crosses)
	manifests/images/build

manifests: ## write manifests/crds from the Rust types, render manifests/culvert.yaml from the chart (with the test cluster's helm, or yours)
	$(CARGO) run --release -q -p culvert-controller -- crds --dir manifests/crds
	manifests/render

e2e-images: build ## target/e2e/apps.tar: curl, nginx, redis, postgres and more, as an image to play with
	@test -x target/cluster/bin/grpcurl || tests/cluster/cluster build
	tests/e2e/images/build

e2e: ## Culvert on a real Kubernetes, from `helm install` to its removal (as root; E2E_ARGS="--only matrix --keep")
	$(CARGO) build --release --workspace
	tests/cluster/cluster build
	manifests/render --check
	PROFILE=release manifests/images/build
	tests/e2e/previous-images
	tests/e2e/images/build
	target/release/culvert-e2e $(E2E_ARGS)

conformance: build ## the Gateway API's official suite (as root; PART=mesh or gateway, RUN=NAME for one test, KEEP=yes)
	tests/cluster/cluster build
	PROFILE=release manifests/images/build
	tests/conformance/run

perf-scale: build ## a large mesh under churn on a real API server (SCALE_ARGS="--pods 50000")
	@test -x target/cluster/bin/kube-apiserver || tests/cluster/cluster build
	target/release/culvert-perf scale $(SCALE_ARGS)

clean:
	$(CARGO) clean
