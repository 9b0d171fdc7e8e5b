# What a newcomer runs: `make demo`, `make test`. CI runs `make lint`, `make test`
# and `make infra`.
#
# Every target builds with the same profile and features, so that DataFusion is built once.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TIDEGAUGE := $(TARGET_DIR)/debug/tidegauge
DEMO_ROWS := 1000000
LABELS := data/flows/_labels.json

# Set TIDEGAUGE_PYTHON to an interpreter that has tests/python/requirements.txt to use that one.
ifndef TIDEGAUGE_PYTHON
PYTHON_READY := .venv/.ready
TIDEGAUGE_PYTHON := $(CURDIR)/.venv/bin/python
endif
export TIDEGAUGE_PYTHON

.PHONY: build demo test soak lint infra bench w1 clean

build:
	cargo build --locked --workspace

demo: build $(LABELS)
	rm -rf out
	$(TIDEGAUGE) run jobs/network_anomaly.yaml --once --drain
	$(TIDEGAUGE) review out/findings --labels $(LABELS)

$(LABELS): | build
	$(TIDEGAUGE) generate flows --out data/flows --rows $(DEMO_ROWS) --seed 7 --anomalies 12

# The commit log's simulation pauses tokio's clock, a feature that would build DataFusion anew if
# it were asked for in the same command: the crate has no DataFusion, so it is tested by itself.
# The drawn cases of the property test are the same in each run, so that a change is judged by
# itself; `make soak` draws others.
test: $(PYTHON_READY)
	PROPERTY_SEED=$${PROPERTY_SEED:-1} cargo test --locked --workspace --exclude tidegauge-commitlog
	cargo test --locked --package tidegauge-commitlog
	$(TIDEGAUGE) test

# The differential property test for a night, every case held to DuckDB as well: PROPERTY_SEED repeats
# a run, PROPERTY_CASE one case of it.
soak: $(PYTHON_READY)
	PROPERTY_CASES=$${PROPERTY_CASES:-100000} PROPERTY_DUCKDB=$${PROPERTY_DUCKDB:-1} cargo test --locked --workspace \
		--exclude tidegauge-commitlog --test main -- --nocapture a_stream_gives_what_the_batch_query_gives

.venv/.ready: tests/python/requirements.txt tests/python/install.sh
	tests/python/install.sh .venv
	touch $@

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked -p tidegauge-tidy

# What describes machines rather than runs on them. It needs no build; terraform is skipped, and that
# is said, where it is not installed.
infra: $(PYTHON_READY)
	$(TIDEGAUGE_PYTHON) tests/python/check_deploy.py
	.ci/terraform

# What is measured is built once, with the release profile: benches and the command.
BENCHES := --bench backfill --bench first_flow --bench hops --bench sessions

bench:
	cargo bench --locked $(BENCHES)

# W1_ARGS is passed on, as in W1_ARGS="--rows 20000000 --scripts ../w1".
w1:
	cargo bench --locked $(BENCHES) --no-run
	benches/w1/run --binary $(TARGET_DIR)/release/tidegauge $(W1_ARGS)

clean:
	rm -rf out data .venv
	cargo clean
