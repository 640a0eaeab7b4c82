# Two commands do everything on a fresh machine: `make demo` and `make test`. Python 3.11 or newer is all they need.
#   TORCH=gpu make ...   leaves out the constraints that keep torch to the checked CPU version
# pip's own settings (index, find-links) are honoured.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  ?= cpu
CONSTRAINTS := $(if $(filter gpu,$(TORCH)),,-c constraints-cpu.txt)
N      ?= 100

.PHONY: demo test lint docs bench clean
demo: $(VENV)/.installed
	$(BIN)/coset sample -n $(N) --seed 0 --out molecules.sdf
	$(BIN)/coset evaluate molecules.sdf --report report.html

# One thread a process: two contended threads make slow outliers.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/pyright

# The site goes to site/index.html, to be opened from the disk; every block of its pages is run by the tests.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

bench: $(VENV)/.installed
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

$(VENV)/.installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) molecules.sdf report.html site
