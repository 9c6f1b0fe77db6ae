# make demo | docs | pictures | test | test-lowest | test-cluster | golden | chaos | fuzz | lint | bench | clean. Needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
UV_VERSION := 0.13.9

.PHONY: demo docs pictures test test-lowest test-cluster golden chaos fuzz lint bench clean lock

demo: $(VENV)/.ready
	$(BIN)/gga-sweep run demo

# The documentation site, in build/site. A broken link is an error.
docs: $(VENV)/.ready
	$(BIN)/python docs/build_site.py build/site

# The pictures of the README, from a sweep that this trains. Needs Chromium.
pictures: $(VENV)/.ready
	$(BIN)/python docs/pictures.py

# Bytecode is wanted here, whatever the shell says: dozens of processes import torch and Ray.
test: $(VENV)/.ready
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 2 --dist worksteal

# The lowest versions that pyproject.toml allows, in an environment of its own.
test-lowest: $(VENV)/.ready
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --extra dev pyproject.toml --output-file $(LOWEST)/lowest.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --requirement $(LOWEST)/lowest.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --no-build-isolation --editable .
	env -u PYTHONDONTWRITEBYTECODE $(LOWEST)/bin/pytest -n 2 --dist worksteal

# Several Ray nodes, PostgreSQL, an S3 server, on this machine. PostgreSQL's programs must be there.
test-cluster: $(VENV)/.ready
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -m cluster -n 2 --dist loadfile

# Small sweeps under the checkout BASE and under this one: every bit and every table must be the same. Each checkout
# runs its own sweep files where it has some, since options may have other names.
GOLDEN := $(BIN)/python tests/golden/freeze.py
GOLDEN_SWEEPS = $(firstword $(wildcard $(BASE)/tests/golden/sweeps) tests/golden/sweeps)
golden: $(VENV)/.ready
	test -n "$(BASE)" || { echo "make golden BASE=DIR, where DIR is the checkout to compare with" >&2; exit 2; }
	mkdir -p build
	env -u PYTHONDONTWRITEBYTECODE $(GOLDEN) freeze build/golden-base.json --package $(BASE) --sweeps $(GOLDEN_SWEEPS)
	env -u PYTHONDONTWRITEBYTECODE $(GOLDEN) freeze build/golden.json
	$(GOLDEN) compare build/golden-base.json build/golden.json

chaos: $(VENV)/.ready
	$(BIN)/python tests/chaos/chaos.py

fuzz: $(VENV)/.ready
	GGA_SWEEP_FUZZ=500 $(BIN)/pytest tests/fuzz

lint: $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(BIN)/python tests/benchmarks/search_cost.py
	$(BIN)/python tests/benchmarks/algorithm_cost.py
	$(BIN)/python tests/benchmarks/guided_gain.py
	$(BIN)/python tests/benchmarks/precision.py
	$(BIN)/python tests/benchmarks/run_overhead.py
	$(BIN)/python tests/benchmarks/domainbed_tables.py
	$(BIN)/python tests/benchmarks/large_ledger.py
	$(BIN)/python tests/benchmarks/recording_overhead.py
	$(BIN)/python tests/benchmarks/relaunch.py
	$(BIN)/python tests/benchmarks/remote_status.py
	$(BIN)/python tests/benchmarks/many_runs.py
	$(BIN)/python tests/benchmarks/makespan.py
	$(BIN)/python tests/benchmarks/adaptive_search.py
	$(BIN)/python tests/benchmarks/shared_prefixes.py
	$(BIN)/python tests/benchmarks/evaluated_images.py
	$(BIN)/python tests/benchmarks/fine_tuning_share.py
	$(BIN)/python tests/benchmarks/image_cache.py
	$(BIN)/python tests/benchmarks/data_ahead.py

clean:
	rm -rf $(VENV) $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

# The environment: everything at the versions of requirements.lock, checked by hash.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: $(VENV)/.ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 --extra dev pyproject.toml --output-file requirements.lock
