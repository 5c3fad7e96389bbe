# Each target sets up what it needs in .venv; nothing but Python (>= 3.10) and make has to be there before.
#   make demo PYTHON=python3.12          another interpreter
#   make demo PIP_FLAGS="--index-url …"  another package index (for instance one with CPU-only torch wheels)

PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin
# One thread per core: hyper-threads slow matrix work down.
export OMP_NUM_THREADS ?= $(shell $(PYTHON) -c "import os; print(min(os.cpu_count() or 1, 8))")
# As many tests at a time as there are cores, each with one thread.
WORKERS ?= auto
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo test test-page test-milvus fuzz test-kernels lint bench parity mini docs notebooks clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@touch $@

demo: .venv/base  ## search real scores and MIDI by words and by score, offline, in under 3 minutes
	$(BIN)/python examples/demo.py

test: .venv/dev  ## every test (add ARGS="-k name" to choose)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-page: .venv/dev  ## the page in Chromium (apt-get install chromium), in both themes and on a phone
	CLAMP3_PAGE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/page $(ARGS)

.venv/milvus: .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[milvus]" milvus
	@touch $@

test-milvus: .venv/milvus  ## indexes in Milvus, on a real server from PyPI (Linux on x86-64; some minutes)
	CLAMP3_MILVUS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit/test_index_stores.py $(ARGS)

# make fuzz FUZZ=2000 FUZZ_SECONDS=20 gives each reader fewer inputs, and a time.
FUZZ ?= 20000
FUZZ_SECONDS ?= 0
fuzz: .venv/dev  ## 20,000 damaged files for each reader of files (make test gives each 100)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py --inputs $(FUZZ) --seconds $(FUZZ_SECONDS) $(ARGS)

# With more threads than cores, waiting ones must sleep. The last run is without oneDNN's packed products.
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
test-kernels: .venv/dev  ## numeric tests as other processors and libraries compute them
	$(BIN)/python benchmarks/machine.py
	@set -e; for setting in "OMP_NUM_THREADS=2" \
	  "OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default $(AVX2)" "OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=default $(AVX2)" \
	  "OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 $(AVX2)" "OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 $(AVX2)" \
	  "OMP_NUM_THREADS=1 PYTEST_ADDOPTS=--plain_products"; do \
	  echo "$$setting"; \
	  env OMP_WAIT_POLICY=passive $$setting $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m kernels $(ARGS); \
	done

lint: .venv/dev  ## ruff, mypy and the order of the floors (import-linter), as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/dev  ## measure every stage against the released way; JSON under benchmarks/results
	for script in convert_scores convert_midi extract audio search probe evaluation training_data training_speed; do $(BIN)/python benchmarks/$$script.py || exit 1; done

parity: .venv/base  ## compare with outputs of the released system: make parity GOLDEN=path/to/golden
	$(BIN)/python benchmarks/parity.py --golden $(GOLDEN)

mini: .venv/dev  ## train the embedded mini model again from music21's corpus (about 90 minutes on 2 cores)
	$(BIN)/python code/recipes/mini/run.py --work_dir runs/mini

docs: .venv/dev  ## build this documentation as a site: python3 -m http.server --directory site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# With one thread: two that wait for each other on a busy machine take minutes for a step.
notebooks: .venv/dev  ## run the notebooks of examples/ (add NOTEBOOK_FLAGS=--inplace to keep what they print)
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 timeout 1800 $(BIN)/jupyter execute --timeout=1200 $(NOTEBOOK_FLAGS) examples/*.ipynb

clean:  ## remove the virtual environment and the demo's files
	rm -rf .venv demo_out site
