# Each target builds .venv when it is missing or when pyproject.toml has changed; nothing but Python >= 3.11, pip and
# make is needed before.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More threads than cores make tiny models slower, not faster.
# A file at a time on two cores, so that what tests of one file share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where Python is told to write no bytecode, every process compiles all that it imports, which takes 18 s.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo demo-figures test test-slow lint docs format clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## Build .venv with the package (editable) and everything needed to develop it

demo: $(READY)  ## DyGEN on the data set that comes with the package; writes output/demo
	$(BIN)/python examples/run_dygen.py --dataset docs --output_dir output/demo --overwrite --max_train_samples 1000 \
		--num_train_epochs 3 --learning_rate 2e-4 --max_length 32 --train_sampling_strategy group_by_length

demo-figures: demo  ## The demo, and its figures in docs/quickstart.md
	cp output/demo/dygen_results.json benchmarks/results/demo.json
	$(BIN)/python -m benchmarks.reporting.documents

test: $(READY)  ## All tests but the slow ones
	$(PYTEST)

test-slow: $(READY)  ## The slow tests, and those of drawn examples on new draws
	$(PYTEST) -m 'slow or hypothesis' --hypothesis-profile=random -o faulthandler_timeout=3600

lint: $(READY)  ## Style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## The pages of docs/ as a site in output/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(READY)  ## Rewrite files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what was built: .venv, caches, output
	rm -rf $(VENV) build dist output .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv resolves and downloads in parallel; pip does the same, slowly, where uv cannot.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, found $$($(PYTHON) --version 2>&1); name one with: make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	{ $(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --python $(BIN)/python --editable '.[dev]'; } || \
		$(BIN)/python -m pip install --editable '.[dev]'
	touch $@
