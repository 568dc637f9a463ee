# All that you need is Python 3.11 and make: `make demo` shows imgsearch at work, `make test` runs its tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Python keeps what it has compiled: else each of the thousand processes that tests start would compile it again.
unexport PYTHONDONTWRITEBYTECODE
# sentence-transformers as its users have it, with torchvision: what the parity tests compare with.
REFERENCE := .venv-reference

# Real stores, in an environment of their own: a Milvus server (linux x86-64, 60 MB to download, 1 GB of memory).
STORES := .venv-stores

# A server that plays S3 on loopback, in an environment of its own, with AWS's SDK.
BUCKETS := .venv-buckets

# Ray, in an environment of its own.
CLUSTER := .venv-cluster

.PHONY: docs demo test quick stores buckets cluster faults fuzz reference smoke bench lint types check wheel clean

demo: $(READY)
	$(BIN)/imgsearch demo

# A worker on each core and one more, since some wait for a browser or a disk; four at most. Each computes on one
# thread. `.venv/bin/python -m pytest` is one process.
WORKERS := $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PARALLEL := --numprocesses $(WORKERS) --dist worksteal

test: $(READY) reference
	$(BIN)/python -m pytest $(PARALLEL)

# While you work, about a minute: without the tests that start processes, kill, train, compare or install.
quick: $(READY)
	$(BIN)/python -m pytest -m quick

# The fault tests in full: every failing call, thousands of power cuts and flipped bytes, 500 kills. An hour;
# `make test` runs seeded samples of the same.
faults: $(READY)
	IMGSEARCH_FAULTS=full $(BIN)/python -m pytest tests/faults/test_sigkill.py tests/faults/test_killed_run.py tests/faults/test_concurrency.py tests/faults/test_stateful.py \
		tests/faults/test_flipped_bytes.py tests/faults/test_io_faults.py tests/faults/test_power_loss.py tests/faults/test_full_disk.py tests/faults/test_resources.py \
		tests/unit/indexing/test_plan.py::TestUser tests/unit/indexing/test_any_tree.py
	PYTHONPATH=tests $(BIN)/python -m fuzz documents films --cases 5000 --seconds 36000

# The contract of stores asked of a real Milvus and of milvus-lite, which proves nothing about Milvus; the server killed.
stores: $(STORES)/.ready
	$(STORES)/bin/python -m pytest tests/stores

# Images in buckets, read from a server that plays S3.
buckets: $(BUCKETS)/.ready
	$(BUCKETS)/bin/python -m pytest tests/buckets

# Indexing on a Ray cluster of three nodes on this machine, one of which is killed, and then the coordinator.
cluster: $(CLUSTER)/.ready
	$(CLUSTER)/bin/python -m pytest tests/cluster

# What other people's folders may hold, damaged at random (seeded), for ten minutes; add SEED=2 for other damage.
SEED ?= 1
fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED)

reference: $(REFERENCE)/.ready

# The recipe of the demo model on a little data: some minutes, and 290 MB of packages the first time; the model that
# ships stays as it is.
smoke: $(READY)
	$(BIN)/python recipes/things_checkpoint.py --smoke

# What a CPU finishes in ten minutes, with a tiny and a full-size random model (4.3 GB of temporary disk space).
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

# dist/: the sdist, and the wheel made from it. tests/install installs it into an empty environment and runs the demo.
wheel: $(READY)
	$(BIN)/python -m build --no-isolation --outdir dist .

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# The editable package with extras, by uv if it can be had, which takes seconds where pip takes minutes. pip stays for
# torch, of which it may know a smaller build (pip.conf), and for wherever uv finds less than pip does.
INSTALL = PATH="$$PATH:$(BIN)"; uv --version >/dev/null 2>&1 || $(PIP) uv || true; \
	{ uv --version >/dev/null 2>&1 && UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable $(1); } \
	|| $(PIP) --constraint constraints.txt --editable $(1)

# The environment is updated whenever pyproject.toml or constraints.txt changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imgsearch needs Python 3.11 or newer; choose one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt torch
	$(call INSTALL,".[dev]")
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(call INSTALL,".[docs]")
	touch $@

# Only what .venv does without lies there; the rest is found in .venv, whose versions the comparison is with.
$(REFERENCE)/.ready: tests/parity/reference/requirements.txt | $(READY)
	$(BIN)/python -m venv --clear --without-pip $(REFERENCE)
	$(BIN)/python -m pip --python $(REFERENCE)/bin/python install --quiet --disable-pip-version-check --no-deps --requirement $<
	$(REFERENCE)/bin/python -c 'import sys, sysconfig; print(sys.argv[1], file=open(sysconfig.get_path("purelib") + "/beside.pth", "w"))' \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	touch $(REFERENCE)/.ready

# All of .venv is seen from there, its own links to the source too. A server that plays S3 brings its dependencies, of
# which some are older than those in .venv; the others have all of theirs there.
$(BUCKETS)/.ready: DEPENDENCIES :=
$(STORES)/.ready $(CLUSTER)/.ready: DEPENDENCIES := --no-deps

$(STORES)/.ready $(BUCKETS)/.ready $(CLUSTER)/.ready: .venv-%/.ready: tests/%/requirements.txt | $(READY)
	$(BIN)/python -m venv --clear --without-pip .venv-$*
	$(BIN)/python -m pip --python .venv-$*/bin/python install --quiet --disable-pip-version-check $(DEPENDENCIES) --requirement $<
	.venv-$*/bin/python -c 'import sys, sysconfig; \
		print(f"import site; site.addsitedir({sys.argv[1]!r})", file=open(sysconfig.get_path("purelib") + "/beside.pth", "w"))' \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	touch $@

clean:
	rm -rf $(VENV) $(REFERENCE) $(STORES) $(BUCKETS) $(CLUSTER) demo-gallery dist site
