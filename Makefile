# The front door: `make help` lists the targets. Each one sets itself up in .venv; nothing else on
# the machine is touched, and only the set-up needs a network (or a folder of wheels: PIP_FIND_LINKS).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
WORKERS ?= 2

# The first of these that is new enough; `make PYTHON=/some/python3` chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	{ echo $$python; break; }; done)

PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: help setup demo test slow pilot consortium chaos byzfl accountant cover check fmt fmt-check lint type layers guards bench lab docs vectors proto clean
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# --- set-up: what the demo needs first, so that it starts soon; the developer's tools after it ------

.venv/.demo: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Tallystick needs Python 3.11 or newer, and none was found as python3 or python3.11 to python3.14: install one, or name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) hatchling
	@$(PIP) --no-build-isolation -e '.[demo]'
	@touch $@

.venv/.ready: .venv/.demo
	@echo "Adding the developer's tools ..."
	@$(PIP) --no-build-isolation -e '.[demo,dev,dask,node]'
	@touch $@

setup: .venv/.ready ## make .venv with everything pinned in constraints.txt

# --- use ---------------------------------------------------------------------------------------

demo: .venv/.demo ## run the standard recipe as a small consortium, and check what it promises
	$(BIN)/tally demo

bench: .venv/.demo ## measure a round, the ledger, aggregation and proofs
	$(BIN)/tally bench round
	$(BIN)/tally bench ledger
	$(BIN)/tally bench aggregate
	$(BIN)/tally bench proofs

# A sweep goes on where it was interrupted; `make lab LAB_DIR=elsewhere` begins another.
LAB_DIR ?= build/lab
LAB ?= --recipes chain-fl,bflc,learningchain,fl-block,standard --data digits --members 20 --rounds 30
LAB_ATTACKS ?= sign-flip:4=6,gaussian:1=6,label-flip=6,alie:0.37=6,ipm:2.5=6,min-max=6

lab: .venv/.demo ## measure the tables of docs/lab.md again
	$(BIN)/tally lab run $(LAB) --attacks $(LAB_ATTACKS),none=0 --seeds 5 --out $(LAB_DIR)/iid
	$(BIN)/tally lab run $(LAB) --attacks $(LAB_ATTACKS),mimic=6,rule-aware=6,none=0 --seeds 2 \
		--partition dirichlet:0.5 --out $(LAB_DIR)/dirichlet
	$(BIN)/python scripts/make_lab.py $(LAB_DIR)/iid $(LAB_DIR)/dirichlet

# --- tests -------------------------------------------------------------------------------------

test: .venv/.ready ## run the tests and every documented example
	$(BIN)/pytest -q -n $(WORKERS)

slow: .venv/.ready ## run the tests that take longer
	$(BIN)/pytest -q -n $(WORKERS) -m 'slow and not network and not gpu' || test $$? -eq 5  # 5: none yet

pilot: .venv/.ready ## run pilots of several processes: the guide, chaos, lying nodes
	$(BIN)/pytest -q -n $(WORKERS) -m 'network and not gpu' --ignore tests/consortium tests

# Which; CI runs the walk through the guide and the changes of membership.
CONSORTIUM ?= tests/consortium tests/unit/node/test_engine.py

# The tests need CometBFT. It is built here where there is none yet; on a machine where it cannot be
# built, nothing of it is tested, and that is said.
consortium: .venv/.ready ## run consortia of nodes under CometBFT, which takes Go or a CometBFT
	@if $(BIN)/tally network engine || $(BIN)/tally network engine --install; then \
		$(BIN)/pytest -q -m network --ignore tests/consortium/test_chaos.py $(CONSORTIUM); \
	else \
		status=$$?; test $$status -eq 3 || exit $$status; \
		echo "**** SKIPPED: no consortium was tested, since there is no CometBFT (above: why). ****"; \
	fi

SEED ?= 1

chaos: .venv/.ready ## kill processes of a consortium at random, as SEED=n says
	TALLY_CHAOS_SEED=$(SEED) $(BIN)/pytest -q -m network tests/consortium/test_chaos.py

byzfl: .venv-byzfl/.ready ## compare the aggregation rules with ByzFL's (PyTorch: some 6 GB)
	.venv-byzfl/bin/python -m pytest -q -m byzfl tests/byzfl

.venv-byzfl/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv-byzfl
	@$(subst $(BIN),.venv-byzfl/bin,$(PIP)) hatchling
	@$(subst $(BIN),.venv-byzfl/bin,$(PIP)) --no-build-isolation -e '.[byzfl]'
	@touch $@

.venv/.dp: .venv/.ready
	@echo "Adding dp-accounting ..."
	@$(PIP) --no-build-isolation -e '.[demo,dev,dask,node,dp]'
	@touch $@

accountant: .venv/.dp ## compare the accountant of privacy with dp-accounting
	$(BIN)/pytest -q tests/unit/mechanisms/test_accountant.py

cover: .venv/.ready ## measure branch coverage
	$(BIN)/pytest -q -n $(WORKERS) --cov --cov-report=term

# --- checks: the same ones CI runs ---------------------------------------------------------------

check: fmt-check lint type layers guards ## everything that can be said without running the tests

fmt: .venv/.ready ## rewrite the sources in the house style
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

fmt-check: .venv/.ready
	$(BIN)/ruff format --check

lint: .venv/.ready ## ruff, every rule
	$(BIN)/ruff check

type: .venv/.ready ## basedpyright, strict below lab
	$(BIN)/basedpyright

layers: .venv/.ready ## imports point down only
	$(BIN)/lint-imports --no-cache

guards: .venv/.ready ## no floats on the ledger, small files, unique codes, pages up to date
	$(BIN)/pytest -q tests/guards

# --- generated files -----------------------------------------------------------------------------

docs: .venv/.ready ## rewrite the generated pages
	$(BIN)/python scripts/make_docs.py

vectors: .venv/.ready ## rewrite the test vectors
	$(BIN)/python scripts/make_vectors.py
	$(BIN)/python scripts/make_rule_vectors.py

# The oldest compiler whose code every later runtime takes; in an environment of its own.
proto: ## write what abci.proto says again as Python
	$(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip --disable-pip-version-check install --quiet grpcio-tools==1.62.3
	build/proto/bin/python -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src \
		src/tallystick/consensus/cometbft/abci.proto

clean: ## remove .venv and every cache
	rm -rf .venv .venv-byzfl .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist .coverage .coverage.*
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
