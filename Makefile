# Two commands from nothing but Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# sentence-transformers as its users have it, with torchvision: what the parity tests compare with.
REFERENCE := .venv-reference

.PHONY: docs demo test quick faults reference smoke bench lint types check clean

demo: $(READY)
	$(BIN)/imgsearch demo

# A worker on each core, four at most; each computes on one thread. `.venv/bin/python -m pytest` is one process.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

test: $(READY) reference
	$(BIN)/python -m pytest $(PARALLEL)

# The loop at the desk, under a minute: without the tests that start processes, kill, train or compare.
quick: $(READY)
	$(BIN)/python -m pytest -m quick

# The fault tests in full: every failing call, thousands of power cuts and flipped bytes, 500 kills. An hour;
# `make test` runs seeded samples of the same.
faults: $(READY)
	IMGSEARCH_FAULTS=full $(BIN)/python -m pytest tests/faults/test_sigkill.py tests/faults/test_concurrency.py tests/faults/test_stateful.py \
		tests/faults/test_flipped_bytes.py tests/faults/test_io_faults.py tests/faults/test_power_loss.py tests/faults/test_full_disk.py

reference: $(REFERENCE)/.ready

# The recipe of the demo checkpoint on a little of everything: two minutes, nothing is installed.
smoke: $(READY)
	$(BIN)/python recipes/demo_checkpoint.py --smoke

# What a CPU finishes in ten minutes, with a tiny and a full-size random checkpoint (4.3 GB of temporary disk).
bench: $(READY) reference
	$(BIN)/python benchmarks/bench.py

# The pages as a site in site/; a broken link, a missing image and whatever a page loads from elsewhere are errors.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	! grep -rE '(<script|<img|<link rel="(stylesheet|preconnect)")[^>]*https?://' site --include '*.html'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: test lint types

# The environment is made anew whenever what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imgsearch needs Python 3.11 or newer; say which with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $@

# By uv, which takes seconds where pip takes minutes; by pip where uv is not to be had.
$(REFERENCE)/.ready: tests/parity/reference/requirements.txt | $(READY)
	$(BIN)/python -m venv --clear $(REFERENCE)
	uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	PATH="$$PATH:$(BIN)"; if uv --version >/dev/null 2>&1; \
	then UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 uv pip install --quiet --python $(REFERENCE)/bin/python --requirement tests/parity/reference/requirements.txt; \
	else $(REFERENCE)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/parity/reference/requirements.txt; fi
	touch $(REFERENCE)/.ready

clean:
	rm -rf $(VENV) $(REFERENCE) demo-gallery site
