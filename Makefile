# Everything happens in .venv, which 'setup' makes; nothing else has to be installed or activated.

PY := .venv/bin/python
# Two processes suit two cores. Idle ones take tests over (worksteal), because one long file must not decide the end.
WORKERS ?= 2
# For a part of the tests: make test ARGS="tests/domain -k cron". The proofs below take arguments in the same way.
ARGS ?=
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check lint format oracle shows coverage constraints clean
.PHONY: chaos crashpoints model simulation guards hostile power-loss disk-full deadlocks bench

help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## Make .venv and install Mainspring with its extras into it; does nothing when nothing changed.

.venv/.installed: pyproject.toml constraints.txt scripts/setup.sh
	@PYTHON='$(PYTHON)' scripts/setup.sh

demo: setup ## Run scheduled market-data jobs on a new database, from nothing to recorded results, then say what happened.
	@$(PY) -m mainspring.packs.market.demo

up: setup ## Serve the demonstration's project until Ctrl-C.
	@$(PY) -m mainspring.packs.market.demo --serve

test: setup ## Run the tests on SQLite and PostgreSQL (installed first when root on Debian).
	@scripts/install-servers.sh
	@$(PY) -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

check: lint test ## Check everything: format, lint, types, import contracts, tests.

lint: setup ## Check everything but the tests.
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

format: setup ## Format the code and sort its imports.
	@.venv/bin/ruff check --fix --select I,RUF100,UP .
	@.venv/bin/ruff format .

oracle: setup ## Compare every trigger with brute force over all zone transitions, 2000 to 2037; takes minutes.
	@$(PY) -m tests.oracle

shows: setup ## Fire 12,000 times and run runs under kill -9; ask services that refuse or are down; takes minutes.
	@scripts/install-servers.sh
	@$(PY) -m tests.shows.firing
	@$(PY) -m tests.shows.kills
	@$(PY) -m tests.shows.resources
	@$(PY) -m tests.shows.turns
	@$(PY) -m tests.shows.graphs
	@$(PY) -m tests.shows.graphs --nodes 10000

chaos: setup ## Kill, freeze and starve real processes and servers for MINUTES on each database; then judge what is left.
	@scripts/install-servers.sh
	@$(PY) -m tests.chaos --minutes $(MINUTES) $(ARGS)

crashpoints: setup ## Put four kinds of faults at every statement and commit of the hot paths, on both databases.
	@scripts/install-servers.sh
	@$(PY) -m tests.crashpoints $(ARGS)

model: setup ## Compare both databases with a model after every one of thousands of random steps.
	@scripts/install-servers.sh
	@$(PY) -m tests.model --database sqlite $(ARGS)
	@$(PY) -m tests.model --database postgres $(ARGS)

simulation: setup ## Step the whole service on a virtual clock with faults, 500 seeds; then ten virtual years of 200 schedules.
	@$(PY) -m tests.simulation --seeds 500 $(ARGS)
	@$(PY) -m tests.simulation.years

guards: setup ## Take away each guard of the code in turn; the test named for it must fail.
	@scripts/install-servers.sh
	@$(PY) -m tests.guards $(ARGS)

hostile: setup ## Run tasks that resist being stopped, and tasks that eat memory; nothing of them may be left.
	@$(PY) -m tests.isolation $(ARGS)
	@$(PY) -m tests.isolation --memory

power-loss: setup ## Cut the power of a recorded SQLite database at every flush, and look what comes back.
	@scripts/install-servers.sh
	@$(PY) -m tests.power_loss $(ARGS)

disk-full: setup ## Fill the disk under a SQLite database at every page of its growth.
	@$(PY) -m tests.store.disk_full $(ARGS)

deadlocks: setup ## Let claims, ends, cancels, edits and rescues meet on PostgreSQL; it must not find a deadlock.
	@scripts/install-servers.sh
	@$(PY) -m tests.store.test_deadlocks $(ARGS)

coverage: setup ## Run the tests and show which lines and branches they leave out.
	@scripts/install-servers.sh
	@$(PY) -m pytest -q -n $(WORKERS) --dist worksteal --cov --cov-report=term-missing:skip-covered $(ARGS)

constraints: setup ## Write the versions that are installed in .venv into constraints.txt.
	@{ head -n 1 constraints.txt; $(PY) -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==[^ ]+$$'; } > .venv/constraints.new
	@mv .venv/constraints.new constraints.txt

bench: setup $(if $(PEERS),benchmarks/.peers/.installed) ## Measure Mainspring and the limits of its databases, with PEERS=1 its peers too; takes about an hour.
	@scripts/install-servers.sh
	@$(PY) -m benchmarks $(if $(PEERS),--peers) $(ARGS)

benchmarks/.peers/.installed: benchmarks/peers/requirements.txt
	@$(PY) -m venv --clear benchmarks/.peers
	@benchmarks/.peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean: ## Remove .venv, caches and what the demonstration wrote.
	@rm -rf .venv benchmarks/.peers .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist demo
	@find src tests benchmarks servers -name __pycache__ -type d -prune -exec rm -rf {} +
