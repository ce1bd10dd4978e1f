# make run     starts the server; the first time it makes .venv and installs into it. SMTP=2526 POP3=1101
#              HTTP=8081 choose other ports
# make test    installs what the tests need and runs all of them
# make check   style, types, and who may import whom
# make mends   takes each mend of docs/rfc.rst out and shows the test that then fails
# make faults  kills the node and its workers 1,000 times each under load, 100 times while it relays 10,000 mails,
#              imports and files that follow a mailbox 300 times each, backups and restores 200 times, and cuts its
#              power 1,000 times
# make soak    half an hour of mixed load with faults; SOAK_SECONDS=300 chooses, PAGE=yes rewrites docs/reliability.rst
# make fuzz    shows that the corpus reaches 95 % of the branches, that planted faults are found, and holds
#              10 million inputs against the protocols' models; INPUTS=100000 SECONDS=60 (a target) for fewer
# make screenshots  makes the pictures of docs/images anew
# make bench   measures mailnode beside the peers that make bench-peers installs (docs/performance.rst);
#              CELLS=a20,k20 PEERS=postfix REPEATS=3 SECONDS=1 choose, PAGE=yes rewrites the page
# make bench-web   measures its pages, search, uploads and event streams; PARTS=pages,crowd MAILS=10000 choose
# make bench-spam  measures beside bogofilter how well wanted mail is told from unwanted (docs/judging.rst);
#              SEED=2 parts the mails otherwise, PAGE=yes rewrites the page
# make bench-judged  measures beside Postfix with OpenDKIM, OpenDMARC and Rspamd what judging costs, as root
#              (docs/judging.rst); REPEATS=3 SECONDS=2 choose, PAGE=yes rewrites the page
# make vendor  fetches the scripts and styles of others from npm and compares them with those here
# make clean   removes what the others made; mail and accounts stay

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# The compat mode puts this folder on sys.path: without it the plugin in twisted/plugins is not seen.
INSTALL := $(PIP) install --quiet --config-settings editable_mode=compat

.PHONY: run test check screenshots mends faults soak bench bench-web bench-spam bench-judged bench-peers vendor clean

SMTP ?= 2525
POP3 ?= 1100
HTTP ?= 8080
LISTEN := import socket, sys; [socket.create_server(("127.0.0.1", int(each))).close() for each in sys.argv[1:]]
RUNS := import pathlib, sys; from mailnode.store.locks import is_locked; sys.exit(not is_locked(pathlib.Path("var")))

run: $(VENV)/installed
	@if $(BIN)/python -c '$(RUNS)'; then echo "A node runs in this folder already: stop it first" >&2; exit 1; \
	elif ! $(BIN)/python -c '$(LISTEN)' $(SMTP) $(POP3) $(HTTP) 2>/dev/null; then \
	    echo "Port $(SMTP), $(POP3) or $(HTTP) is taken; others: make run SMTP=2526 POP3=1101 HTTP=8081" >&2; exit 1; fi
	@exec $(BIN)/twistd -n --pidfile= mailnode --smtp $(SMTP) --pop3 $(POP3) --http $(HTTP)

test: $(VENV)/installed-test
	@BIN="$(BIN)" tests/install-vectors
	@tests/live/install-clients
	@tests/browser/install-browser
	@$(BIN)/python -m tests.run

check: $(VENV)/installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mends: $(VENV)/installed-test
	$(BIN)/python -m tests.mends

faults: $(VENV)/installed-test
	SIGKILLS=1000 POWERCUTS=1000 DISKFULLS=400 UPGRADECUTS=500 DAMAGES=500 BACKUP_KILLS=200 BACKUP_CUTS=500 PINS=200 CLOCK_JUMPS=300 RELAY_MAILS=10000 RELAY_KILLS=100 MOVING_KILLS=300 FULL_CROWDS=yes $(BIN)/python -m pytest -p no:pytest_twisted -s tests/faults tests/stores/test_pinned.py

soak: $(VENV)/installed-test
	$(BIN)/python -m tests.faults.soak $(if $(SOAK_SECONDS),--seconds $(SOAK_SECONDS)) $(if $(PAGE),--page)

fuzz: $(VENV)/installed-fuzz
	$(BIN)/python -m tests.fuzz.cover
	$(BIN)/python -m tests.fuzz.planted
	$(BIN)/python -m tests.fuzz.campaign $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SECONDS),--seconds $(SECONDS))

BENCH = $(if $(CELLS),--cells $(CELLS)) $(if $(PEERS),--peers $(PEERS)) $(if $(REPEATS),--repeats $(REPEATS)) \
    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FEWER),--fewer $(FEWER)) $(if $(PAGE),--page) \
    $(if $(FROM),--from $(FROM))

bench: $(VENV)/installed
	@BENCH_COMMAND="$(strip make bench $(foreach name,CELLS PEERS REPEATS SECONDS FEWER PAGE,$(if \
	    $($(name)),$(name)=$($(name)))))" $(BIN)/python -m tests.bench $(BENCH)

bench-web: $(VENV)/installed
	@$(BIN)/python -m tests.bench.web $(if $(PARTS),--parts $(PARTS)) $(if $(MAILS),--mails $(MAILS)) \
	    $(if $(REPEATS),--repeats $(REPEATS)) $(if $(PAIRS),--pairs $(PAIRS)) \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(WORKERS),--workers $(WORKERS))

bench-spam: $(VENV)/installed
	@tests/bench/install-bogofilter
	@$(BIN)/python -m tests.bench.spam $(if $(SEED),--seed $(SEED)) $(if $(PAGE),--page)

bench-judged: $(VENV)/installed
	@$(BIN)/python -m tests.bench.judged $(if $(REPEATS),--repeats $(REPEATS)) \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PAGE),--page)

screenshots: $(VENV)/installed-test
	@tests/browser/install-browser
	SCREENSHOTS=yes $(BIN)/python -m pytest -q -p no:pytest_twisted tests/browser/test_pages.py </dev/null

vendor: $(VENV)/installed-test
	@$(BIN)/python -m tests.vendored

bench-peers:
	@tests/bench/install-peers

clean:
	rm -rf .venv build dist *.egg-info _trial_temp* .pytest_cache .mypy_cache .ruff_cache
	rm -rf .hypothesis .import_linter_cache
	find mailnode twisted tests examples -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The list of plugins is written by whoever installs, so that others need not write beside it.
$(VENV)/installed: setup.cfg $(BIN)/pip
	@echo "Installing mailnode into $(VENV): once, from the network"
	@$(INSTALL) -e .
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need into $(VENV): once, from the network"
	@$(INSTALL) -e '.[test]'
	@touch $@

$(VENV)/installed-fuzz: $(VENV)/installed-test
	@echo "Installing atheris and coverage into $(VENV): once, from the network"
	@$(INSTALL) -e '.[fuzz]'
	@touch $@

$(VENV)/installed-check: $(VENV)/installed
	@echo "Installing ruff, mypy and import-linter into $(VENV): once, from the network"
	@$(INSTALL) -e '.[check]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "mailnode needs Python 3.11 or later: install python3.11, or make PYTHON=/its/path"; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/apt-install python3-venv
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
