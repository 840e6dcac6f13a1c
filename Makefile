# `go run ./cmd/confab serve --dev` runs Confab. `make check` runs all tests and
# installs the packages that they need, `make quick` runs the tests for every
# day, and `make soak` the longest tests.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The number of inputs for each fuzz target. It is not a time, because a target that
# is running when its time ends can fail with "context deadline exceeded".
FUZZTIME ?= 2000x

.PHONY: release pgo web screenshots web-build web-check web-size answers busy postgres-store postgres-servers damage simulate plant live build quick check soak hostile vulncheck bench growth bench-compare lint test race floor crash fuzz compat compat-all proxied browser postgres loss full newest newcomer pages deploy need-patch need-cc need-python need-java need-chromium need-nginx

build:
	$(GO) build -trimpath -o dist/confab ./cmd/confab

# The program of a release: without cgo it needs no file of a system, and the compiler knows from
# a profile which calls are frequent. `make build` uses no profile, because it takes half a minute more.
release:
	CGO_ENABLED=0 $(GO) build -trimpath -pgo=deploy/cpu.pgo -o dist/release/confab ./cmd/confab

# Takes that profile again, from a minute of all operations. Take it when the hot path has
# changed much, on a machine that does nothing else.
pgo: build
	dist/confab bench mixed --connections 64 --span 1m --profile dist/cpu.pprof
	$(GO) run ./internal/bench/pgo dist/cpu.pprof deploy/cpu.pgo

# Under five minutes: formatting, vet, staticcheck, and all Go tests with the
# race detector.
quick: lint race

# All that CI runs, under 40 minutes. What mostly waits, for the network or for processes of
# its own, runs beside what keeps a processor busy.
check: quick vulncheck
	$(MAKE) -j3 --output-sync=target web-check web-size compat busy # two suites of compat beside busy
	./scripts/postgres -- true # installs it
	$(MAKE) -j2 --output-sync=target with-postgres-store with-postgres-servers
	./scripts/postgres -- $(MAKE) hostile
	./scripts/postgres -- $(MAKE) -j3 --output-sync=target live proxied web
	./scripts/postgres -- $(MAKE) bench FIGURES=short
	scripts/compatibility dist/compat dist/compat-postgres
	@git diff HEAD --exit-code --stat docs/compatibility.md || { echo "docs/compatibility.md differs from the results of the tests: commit the file that make check wrote"; exit 1; }

# The tests of check that keep a processor or the disk busy, one after another.
busy:
	$(MAKE) floor
	$(MAKE) crash
	$(MAKE) full
	$(MAKE) damage
	$(MAKE) simulate
	$(MAKE) fuzz

soak: check
	./scripts/postgres -- $(MAKE) bench
	$(MAKE) growth GROWTH="--sizes 10000,1000000,5000000"
	./scripts/postgres -- $(MAKE) hostile HOSTILE=5m
	./scripts/postgres -- $(MAKE) web WEB_ROUNDS=30 WEB_ALL=1
	TEST_STEADY=10m $(GO) test -count=1 -timeout 20m -run '^TestSteadyMemory$$' -v ./internal/server/failures
	./scripts/postgres -- $(MAKE) loss LOSS_ROUNDS=12
	TEST_FAILURE_ROUNDS=300 TEST_TOKEN_ROUNDS=1000 TEST_ROTATION_ROUNDS=200 TEST_AWAY=5s,20s,75s TEST_DATABASE_STOPS=10 TEST_TWO_WRITER_HISTORIES=100 ./scripts/postgres -- $(GO) test -count=1 -timeout 60m -v ./internal/store/postgres ./internal/server/failures
	TEST_EXPORT_MESSAGES=1000000 ./scripts/postgres -- $(GO) test -count=1 -timeout 30m -run '^TestTransfer$$' -v ./internal/server
	TEST_MOVE_KILLS=50 ./scripts/postgres -- $(GO) test -count=1 -timeout 60m -run '^TestKilledMoves$$' -v ./internal/server
	TEST_KILL_ROUNDS=500 TEST_POWERCUT_ROUNDS=5000 $(GO) test -count=1 -timeout 60m -run '^(TestKill|TestPowerCut)$$' -v ./internal/store/pebble
	TEST_FIGURES=1 $(GO) test -count=1 -run '^TestIdle$$' -v ./internal/bench
	dist/confab bench mixed --dir $(BENCH_DIR) --span 10m
	$(MAKE) fuzz FUZZTIME=200000x
	$(MAKE) plant

lint: need-patch
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	cd sdk && $(GO) vet ./...
	cd compat/go && $(GO) vet ./...
	cd compat/answers && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd sdk && $(GO) run $(STATICCHECK) ./...
	cd compat/go && $(GO) run $(STATICCHECK) ./...
	cd compat/answers && $(GO) run $(STATICCHECK) ./...
	GO=$(GO) scripts/apidiff
	scripts/plant -n

# All Go tests without the race detector: needs only Go.
test:
	$(GO) test ./...
	cd sdk && $(GO) test ./...

race: need-cc
	$(GO) test -race -timeout 30m ./...
	$(GO) test -race -run '^TestSimulation$$' ./internal/gateway -seeds 100
	cd sdk && $(GO) test -race ./...

# The SDK on the oldest Go that its go.mod names.
floor:
	cd sdk && GOTOOLCHAIN=$$(sed -n 's/^go /go/p' go.mod) $(GO) test ./...

crash:
	TEST_KILL_ROUNDS=50 TEST_POWERCUT_ROUNDS=500 $(GO) test -count=1 -run '^(TestKill|TestPowerCut)$$' -v ./internal/store/pebble
	TEST_MOVE_KILLS=15 $(GO) test -count=1 -run '^TestKilledMoves$$' -v ./internal/server
	TEST_HISTORIES=200 $(GO) test -count=1 -run '^TestThreadsAreLinearizable$$' -v ./internal/core
	TEST_ERASURE_KILLS=5 TEST_BIG_PAGES=1 $(GO) test -count=1 -run '^(TestErasureSurvivesKills|TestBigPages)$$' -v ./internal/server/failures
	TEST_LIST_MESSAGES=1000000 TEST_LIST_THREADS=100000 $(GO) test -count=1 -run '^TestList' -v ./internal/store/pebble

# Every kind of damage of a store's files: what the check says, and what a salvage saves.
damage:
	TEST_CORRUPTION_MESSAGES=20000 $(GO) test -count=1 -run '^TestCorruption$$' -v ./internal/store/pebble

# Live events: servers, writers and readers on a bad bus, in simulated time.
simulate:
	$(GO) test -count=1 -timeout 20m -run '^TestSimulation$$' ./internal/gateway -seeds 2000

# Plants defects in copies of the tree, and checks that a judge finds each: the simulation, the exchanges, the
# recordings, compat/answers or an SDK.
plant: need-python need-patch
	GO=$(GO) ./scripts/plant

fuzz:
	GO=$(GO) ./scripts/fuzz $(FUZZTIME)

# The tests of Microsoft's SDKs and of Confab's, against the built binary: two suites at a time. The longest begin.
# On a database one after another: they share it, and some move the clock of their server.
RESULTS ?= dist/compat
MATRIX = $(patsubst compat/matrix/%/run,%,$(wildcard compat/matrix/*/run))
SUITES = python mslive $(MATRIX:%=matrix-%) go samples quickstart2021 quickstart
compat: export COMPAT_RECORD = $(CURDIR)/$(RESULTS)/record
compat: export COMPAT_ONLY = # one release alone is no proof
compat: need-python build
	rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@[ -z "$$COMPAT_DATABASE" ] || for suite in $(SUITES); do $(MAKE) suite-$$suite || exit 1; done
	@[ -n "$$COMPAT_DATABASE" ] || $(MAKE) $(TWO) $(SUITES:%=suite-%)
	$(MAKE) answers RESULTS=$(RESULTS)

# Judges every answer that the tests of compat got, by the OpenAPI files (compat/answers). Before that, ask sends requests for
# each operation at each version: some versions are spoken by no release. Each suite of ANSWERED must have a record.
answers: ANSWERED ?= $(SUITES)
answers: build
	cd compat/answers && $(GO) test -count=1 ./...
	GO=$(GO) COMPAT_BIN=dist/confab COMPAT_RECORD=$(RESULTS)/record compat/answers/ask/run
	cd compat/answers && $(GO) run . -every -suites "$(ANSWERED) ask" $(CURDIR)/$(RESULTS)/record

# Every release of Microsoft's SDKs that the registries have (compat/releases.json), two languages at a time. It writes
# the releases that make check does not run into docs/compatibility.md.
compat-all: export COMPAT_RECORD = $(CURDIR)/dist/compat-all/record
compat-all: export COMPAT_ONLY =
compat-all: need-python build
	rm -rf dist/compat-all && mkdir -p dist/compat-all
	@$(MAKE) $(TWO) $(MATRIX:%=suite-matrix-%) COMPAT_LANE=all RESULTS=dist/compat-all
	$(MAKE) answers RESULTS=dist/compat-all ANSWERED="$(MATRIX:%=matrix-%)"
	scripts/compatibility --all dist/compat-all

# Two jobs, unless a make above this one already says how many there are.
TWO = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j2 --output-sync=target)

suite-%: export COMPAT_BIN = dist/confab
suite-python suite-samples suite-quickstart2021: suite-%:
	compat/$*/run -q --junitxml=$(CURDIR)/$(RESULTS)/$*.xml
suite-mslive:
	COMPAT_OUT=$(RESULTS) compat/mslive/run -q
suite-go:
	COMPAT_OUT=$(RESULTS)/go.json compat/go/run
suite-quickstart:
	env -u COMPAT_BIN dist/confab run --data memory: $${COMPAT_RECORD:+--record $$COMPAT_RECORD/quickstart} -- $(GO) run ./examples/quickstart
suite-matrix-java: need-java
suite-matrix-%:
	COMPAT_LANE=$(COMPAT_LANE) COMPAT_OUT=$(RESULTS) compat/matrix/$*/run
COMPAT_LANE ?= check

# Microsoft's Python SDK through nginx and Caddy, configured as docs/operating.md says: about a
# minute and a half.
proxied: need-python need-nginx build
	COMPAT_BIN=dist/confab compat/proxies/run -q

# Microsoft's SDK for browsers, in Chromium and in Node, against the built binary.
# Live events with real processes: the judge in the browser and the test of loss, side by
# side, because the judge mostly waits.
# Beside them run tests that wait for downloads.
live: browser loss newcomer pages deploy

browser: need-python need-chromium build
	COMPAT_BIN=dist/confab COMPAT_OUT=dist/compat/browser.xml compat/browser/run
	@if [ -n "$$TEST_POSTGRES_URL" ]; then set -x; \
	COMPAT_BIN=dist/confab COMPAT_DATABASE=$$TEST_POSTGRES_URL COMPAT_OUT=dist/compat-postgres/browser.xml compat/browser/run; fi

# README in a new account of this machine, from the clone to the first message: only root can make one.
newcomer:
	compat/docs/newcomer

# The chat page and the console, from TypeScript into web/dist, which is committed: `go run` needs no Node.
web-build: need-python
	web/build

# People in Chromium, with certificate checks on: the chat page and the console of the built binary, on
# both engines. Usage: scripts/postgres -- make web
web: export COMPAT_BIN = dist/confab
web: export WEB_ROUNDS ?= 10
web: export WEB_ALL ?=
web: need-python need-chromium build
	COMPAT_OUT=dist/web.xml web/test/run

# Pictures of both pages for the documentation. One of them is Korean.
screenshots: need-python need-chromium build
	@./scripts/need "a Korean font" "fc-list :lang=ko | grep -q ." fonts-noto-cjk
	@./scripts/need "a tool that makes pictures smaller" "command -v pngquant" pngquant || true
	COMPAT_BIN=dist/confab web/test/run screenshots docs/screenshots

# Their types, and that web/dist has the bytes to which their sources build.
web-check: need-python
	web/check

# What a browser loads of each page, in bytes of gzip, against their bars.
web-size:
	web/size

# Every block of Go, Python and shell in README and docs.
pages: need-python
	compat/docs/run

# What deploy/ has: the program of the container with nothing beside it, and the alert rules.
deploy:
	TEST_DEPLOY=1 $(GO) test -count=1 -timeout 20m -run '^TestContainerRunsAlone$$' -v .
	scripts/promtool check rules deploy/alerts.yml
	scripts/promtool test rules deploy/alerts_test.yml

# The tests that need PostgreSQL. Usage: scripts/postgres -- make postgres
postgres: postgres-store postgres-servers

# Half of the tests that need PostgreSQL, with a server of their own.
with-postgres-%:
	./scripts/postgres -- $(MAKE) postgres-$*

# The store, in the process of the test.
postgres-store: need-cc
	$(GO) test -race -count=1 -timeout 30m ./internal/store/postgres/...
	$(GO) test -count=1 -run '^(TestEngines|TestTwoServers|TestMany|TestSendsBeside|TestErasure)' -v ./internal/rest ./internal/core
	$(GO) test -count=1 -run 'Takeover|^TestTakenUnknown$$' -v ./internal/gateway/trouter
	$(GO) test -count=1 -run '^TestRun$$' -v ./internal/bench/compare
	TEST_FIGURES=1 $(GO) test -count=1 -run '^TestFigures$$' -v ./internal/store/postgres

# Servers in processes of their own, which are killed and paused, and the SDKs.
postgres-servers: need-python build
	TEST_FAILURE_ROUNDS=30 TEST_TOKEN_ROUNDS=200 TEST_ROTATION_ROUNDS=20 TEST_AWAY=5s,20s TEST_DATABASE_STOPS=3 $(GO) test -count=1 -v ./internal/server/failures
	TEST_EXPORT_MESSAGES=100000 $(GO) test -count=1 -run '^(TestTransfer|TestStreamsEndWithTheirTokens|TestCursorsAfterMoves|TestTwoServersShareTheLobby)$$' -v ./internal/server
	TEST_MOVE_KILLS=15 $(GO) test -count=1 -run '^TestKilledMoves$$/^import_into_PostgreSQL$$' -v ./internal/server
	COMPAT_DATABASE=$$TEST_POSTGRES_URL $(MAKE) compat RESULTS=dist/compat-postgres

# Readers of live events while connections are cut and servers killed, on both engines:
# a round takes 6 seconds. Usage: scripts/postgres -- make loss
LOSS_ROUNDS ?= 8
loss:
	TEST_LOSS_ROUNDS=$(LOSS_ROUNDS) $(GO) test -count=1 -run '^TestLoss$$' -v ./internal/server/failures

# Attackers of every kind beside one honest user, for a minute in all: half of it on each
# engine. Usage: scripts/postgres -- make hostile
HOSTILE ?= 1m
hostile:
	TEST_HOSTILE=$(HOSTILE) $(GO) test -count=1 -timeout 30m -run '^TestHostile$$' -v ./internal/server/failures

# Known vulnerabilities; says so if their database cannot be had.
vulncheck:
	GO=$(GO) scripts/vulncheck

# Full disks, on a tmpfs and on a loop-mounted ext4 that root mounts: about a minute.
full:
	@[ "$$(id -u)" = 0 ] || echo "make full: full disks are NOT tested, because only root can mount them"
	@[ "$$(id -u)" != 0 ] || command -v mkfs.ext4 >/dev/null || echo "make full: a full ext4 is NOT tested, because there is no mkfs.ext4 (package e2fsprogs)"
	TEST_FULL_DISK=1 $(GO) test -count=1 -timeout 10m -run '^TestFullDisk$$' -v ./internal/server/failures

# Tests the newest SDK releases, also pre-releases. It prints failures and succeeds anyway.
newest: need-python build
	COMPAT_BIN=dist/confab compat/python/run-newest

# Prints the figures beside their bars (docs/benchmarks.md), on the disk of BENCH_DIR: medians of five rounds, at most 25
# minutes. FIGURES=short measures one round. A missed bar fails nothing, but a lost or doubled message does.
# Usage: scripts/postgres -- make bench
FIGURES ?= 1
BENCH_DIR ?= dist
bench: BENCH = dist/confab bench $(1) --dir $(BENCH_DIR)
bench: ROUNDS = --rounds $(if $(filter short,$(FIGURES)),1,5)
bench: build
	$(call BENCH,send) $(ROUNDS)
	$(call BENCH,rooms) $(ROUNDS)
	$(call BENCH,hot) $(ROUNDS)
	$(call BENCH,list) $(ROUNDS)
	$(call BENCH,mixed) --span $(if $(filter short,$(FIGURES)),10s,1m)
	@if [ -n "$$TEST_POSTGRES_URL" ]; then set -x; $(call BENCH,send) $(ROUNDS) --database-url "$$TEST_POSTGRES_URL"; \
	else echo "make bench: PostgreSQL is NOT measured, because TEST_POSTGRES_URL is not set"; fi
	TEST_FIGURES=$(FIGURES) $(GO) test -count=1 -timeout 30m -run '^(TestStartFigures|TestSDKFigures|TestConsoleFigures|TestLiveFigures|TestSequencingFigures|TestResumeFigures)$$' -v ./internal/bench
	$(GO) test -run '^$$' -bench '^BenchmarkNewServer$$' -benchtime 50x ./chattest
	$(MAKE) growth

# The same operations on stores of different sizes: about five minutes, or one with FIGURES=short. It prints figures
# with their bars, and fails only if something cannot be measured.
GROWTH ?= $(if $(filter short,$(FIGURES)),--sizes 10000$(comma)100000 --rounds 2 --span 200ms --starts 3 --idle 5s)
comma = ,
growth: build
	dist/confab bench growth --dir dist $(GROWTH)

# Two builds side by side (docs/benchmarks.md): make bench-compare A=8a46270 [B=HEAD]
# Without B, A is compared with the working tree. OPTIONS="-pairs 3" and others:
# go run ./internal/bench/compare -h
bench-compare:
	@[ -n "$(A)" ] || { echo "usage: make bench-compare A=REVISION [B=REVISION] [OPTIONS=...]" >&2; exit 2; }
	GO=$(GO) $(GO) run ./internal/bench/compare $(OPTIONS) $(A) $(B)

need-patch:
	@./scripts/need "patch" "command -v patch" patch

need-cc:
	@./scripts/need "a C compiler (for the race detector)" "command -v gcc || command -v clang" gcc libc6-dev

need-python:
	@./scripts/need "Python 3 with venv" "python3 -c 'import ensurepip, venv'" python3 python3-venv

need-java:
	@./scripts/need "a JDK with Maven" "javac -version && mvn --version" default-jdk-headless maven

# RUNLEVEL keeps the packages from starting servers of their own.
need-nginx:
	@RUNLEVEL=1 ./scripts/need "nginx" "PATH=$$PATH:/usr/sbin; command -v nginx" nginx
	@RUNLEVEL=1 ./scripts/need "Caddy" "command -v caddy" caddy || echo "make proxied: Caddy is NOT tested"

need-chromium:
	@./scripts/need "Chromium with certutil" "command -v chromium && command -v certutil" chromium libnss3-tools
