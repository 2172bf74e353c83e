# Shardwright: what people run. `make` alone says what there is.

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)
CAPI := $(abspath $(TARGET))/capi
WITH_BUILT := SHARDWRIGHT_LIBRARY=$(CAPI)/lib/libshardwright.so SHARDWRIGHT_PROGRAM=$(CAPI)/bin/shardwright

help: ## say what there is
	@echo "Shardwright $(VERSION)"
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

# -- for newcomers -------------------------------------------------------------

demo: ## watch the C bot on four shards (with DISCORD_TOKEN set: on Discord itself)
	@scripts/setup.sh demo
	@echo "Building the library, the simulator and the C bot (the first time takes some minutes)"
	@$(MAKE) --no-print-directory install PREFIX=$(CAPI) >/dev/null
	@$(MAKE) --no-print-directory -C examples/c PREFIX=$(CAPI)
ifdef DISCORD_TOKEN
	examples/c/build/ping_bot
else
	@$(TARGET)/release/shardwright demo examples/c/build/ping_bot
endif

test: export TMPDIR := $(shell scripts/tmp.sh)
test: ## run every check there is, as CI does
	@scripts/setup.sh test
	@echo "== Format"
	@cargo fmt --all --check
	@cargo fmt --check --manifest-path tests/foreign/twilight/Cargo.toml
	@cargo fmt --all --check --manifest-path benches/peers/Cargo.toml
	@echo "== Lints"
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@echo "== Tests: engine, simulator, program, C ABI"
	@RUST_TEST_THREADS=$(or $(RUST_TEST_THREADS),8) cargo test --workspace
	@$(MAKE) --no-print-directory loom
	@echo "== The C examples, and the demo"
	@DISCORD_TOKEN= $(MAKE) --no-print-directory demo
	@echo "== Other hosts: Node.js, LuaJIT, Ruby, Perl, Go, C#, CMake, libuv"
	@examples/test.sh $(CAPI)
	@$(WITH_BUILT) bindings/python/test.sh
	@$(WITH_BUILT) bindings/julia/test.sh
	@echo "== Metrics, alerts and dashboard, with a real Prometheus"
	@tests/monitoring/test.sh $(CAPI)
	@echo "== The recipes of examples/deploy, with a real PM2"
	@tests/deploy/test.sh $(CAPI)
	@echo "== The dashboard, in Chromium and as an API"
	@tests/dashboard/test.sh $(CAPI)
	@echo "== The measurement of docs/overhead.md runs"
	@benches/overhead.py --events 200 --rounds 1 $(CAPI)
	@echo "== The benchmarks of docs/benchmarks.md, docs/fleets.md and docs/load.md run"
	@benches/bench.py --quick $(CAPI)
	@benches/fleet.py --quick $(CAPI)
	@benches/load.py --quick $(CAPI)
	@echo "== No event costs more instructions than it did"
	@benches/instructions.py $(CAPI)
	@echo "== The simulator, with other people's clients: discord.py, hikari, @discordjs/ws, twilight"
	@tests/foreign/test.sh $(CAPI)
	@echo "== Whole fleets in virtual time: seeds that are always the same, and some of today"
	@$(CAPI)/bin/shardwright soak --seed 1 --shard-hours 300
	@$(CAPI)/bin/shardwright soak --seed $$(date +%Y%m%d) --shard-hours 100
	@echo "== Every scenario has its tests"
	@scripts/scenarios.py >$(CAPI)/scenarios.txt || { tail -n 5 $(CAPI)/scenarios.txt; exit 1; }
	@echo "== All tests passed"

# -- for users -----------------------------------------------------------------

build: ## build library and program for use
	@cargo build --release --workspace

install: build ## install library, header, pkg-config and CMake files and program below PREFIX (/usr/local)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include lib/pkgconfig lib/cmake/Shardwright)
	install -m 755 $(TARGET)/release/shardwright $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(TARGET)/release/libshardwright.so $(DESTDIR)$(PREFIX)/lib/libshardwright.so.$(VERSION)
	ln -sf libshardwright.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libshardwright.so.0
	ln -sf libshardwright.so.0 $(DESTDIR)$(PREFIX)/lib/libshardwright.so
	install -m 644 $(TARGET)/release/libshardwright.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 include/shardwright.h $(DESTDIR)$(PREFIX)/include/
	sed 's|@PREFIX@|$(abspath $(PREFIX))|; s|@VERSION@|$(VERSION)|' shardwright.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/shardwright.pc
	for file in ShardwrightConfig ShardwrightConfigVersion; do \
	    sed 's|@VERSION@|$(VERSION)|' cmake/$$file.cmake.in > $(DESTDIR)$(PREFIX)/lib/cmake/Shardwright/$$file.cmake || exit 1; \
	done

sim: ## run a simulated Discord to test a bot against
	@cargo run --release --quiet --bin shardwright -- sim --guilds 20 --shards 4 --events-per-second 20

test-dashboard: measured ## drive the dashboard in Chromium; pictures are kept below target/dashboard
	@tests/dashboard/test.sh $(CAPI)

overhead: measured ## measure what an event costs in C, Python and Julia
	@benches/overhead.py $(CAPI)

reshard: measured ## measure the time and the memory of a reshard
	@benches/reshard.py $(CAPI)

bench: measured ## measure beside other people's libraries (docs/benchmarks.md, fleets.md, load.md): ROUNDS=5
	@benches/bench.py --rounds $(or $(ROUNDS),5) $(CAPI)
	@benches/fleet.py $(CAPI)
	@benches/load.py $(CAPI)

measured: # what the measurements above run with
	@scripts/setup.sh demo
	@$(MAKE) --no-print-directory install PREFIX=$(CAPI) >/dev/null

# -- for contributors ----------------------------------------------------------

scenarios: ## which test shows which case of tests/scenarios.md
	@scripts/scenarios.py

soak: ## live through fleets in virtual time: SEED=1 HOURS=10000
	@cargo run --release --quiet --bin shardwright -- soak --seed $(or $(SEED),1) --shard-hours $(or $(HOURS),10000)

endurance: measured ## what an operator does to a fleet in a bad week, in ten minutes: MINUTES=10
	@scripts/setup.sh test
	@tests/endurance/run.py --minutes $(or $(MINUTES),10) $(CAPI)

fuzz: ## run every fuzz target for half an hour: SECONDS_EACH=1800
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh run $(or $(SECONDS_EACH),1800)

generate: ## write what is made of the source: the header, the references in docs/, tables of the README
	@BLESS=1 cargo test --quiet --workspace --test abi the_header_is_fresh
	@BLESS=1 cargo test --quiet --workspace --test docs fresh
	@BLESS=1 cargo test --quiet --workspace --test client the_table_of_metrics_is_fresh
	@BLESS=1 cargo test --quiet --workspace --bin shardwright the_table_of_the_guide_is_fresh

lint: ## format and lint
	@cargo fmt --all
	@cargo fmt --manifest-path tests/foreign/twilight/Cargo.toml
	@cargo fmt --all --manifest-path benches/peers/Cargo.toml
	@cargo clippy --workspace --all-targets

loom: ## try every order of threads in the queue, its descriptor and the table of handles
	@echo "== Models: loom"
	@cargo fmt --check --manifest-path tests/models/Cargo.toml
	@cargo run --quiet --release --manifest-path tests/models/Cargo.toml --target-dir $(TARGET)/models $(MODEL)

tsan: ## race polls, stops and frees under ThreadSanitizer
	@rustup component add rust-src
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp \
	    cargo test -Zbuild-std --target $$(rustc -vV | sed -n "s/^host: //p") --target-dir $(TARGET)/tsan --test stress

sanitizers: ## C programs under ASan and UBSan
	@cargo test --workspace --test abi -- sanitizers panics_stay

valgrind: ## C programs under valgrind
	@cargo test --workspace --test abi -- valgrind panics_stay the_library_may

instructions: ## count what an event costs, which must not become more (benches/instructions.py)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory install PREFIX=$(CAPI) >/dev/null
	@benches/instructions.py $(CAPI)

bounds: ## measure the engine's memory under huge payloads, bombs and floods
	@cargo test --workspace --test bounds -- --nocapture

clean: ## remove what was built
	@cargo clean
	@$(MAKE) --no-print-directory -C examples/c clean

.PHONY: help demo test build install sim measured overhead reshard bench scenarios soak fuzz loom tsan sanitizers valgrind instructions bounds generate lint clean
