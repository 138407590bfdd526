# make help says what there is. Needed: python3 (3.11 or newer, with venv) and make.

PYTHON ?= python3
EXTRAS := torch,tune,minilm,serve,serve-tests,adapters,plot,bench,docs,ray,dev

export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export NO_MKDOCS_2_WARNING := 1
# Bytecode is written at the first import, whatever the shell says: torch without it is 8 s a command.
unexport PYTHONDONTWRITEBYTECODE TOKENIZERS_PARALLELISM PYTHONPATH PYTHONHOME PIP_USER PIP_REQUIRE_VIRTUALENV

BIN := .venv/bin
READY := .venv/.ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow lint bench docs lock clean
.DEFAULT_GOAL := help

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

setup: $(READY) ## Make .venv with everything below (others call it themselves)
	@:

demo: $(READY) ## The main job on the documentation of your Python
	@$(BIN)/shoestring demo $(ARGS)

test: $(READY) ## The quick tests: tests/, doctests, the blocks of README and docs
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(READY) ## The proofs that take minutes
	@$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY) ## ruff, mypy --strict, the floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: ARGS ?= --quick
bench: BENCH ?= search
bench: $(READY) ## Ours beside its peers, in short (in full: make bench ARGS=)
	@$(BIN)/python -m benchmarks.$(BENCH) $(ARGS)

docs: $(READY) ## The site, into site/
	@$(BIN)/mkdocs build --strict $(ARGS)

# The stamp is named after what was installed, so a second call is instant and a change of either
# file installs again. .unfinished is there while .venv is being made the first time: an interrupted
# set-up starts over, and a .venv of your own is added to, never deleted. --no-compile: most modules
# are never imported, and compiling them all took more than half of the time.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'shoestring needs Python 3.11 or newer, and "$(PYTHON)" is not: name another, as in' \
	    '"make PYTHON=python3.12 $(MAKECMDGOALS)".' >&2; exit 1; }
	@[ ! -e .venv/.unfinished ] || rm -rf .venv
	@[ -x $(BIN)/python ] || { echo 'Setting up .venv, once: about 3 minutes and 2 GB of disk with a' \
	    'CPU build of torch, more with the one for GPUs.' && mkdir -p .venv && \
	    touch .venv/.unfinished && $(PYTHON) -m venv .venv; }
	$(BIN)/python -m pip install $(if $(CI),--quiet) --no-compile \
	  -c constraints.txt -e '.[$(EXTRAS)]'
	@rm -f .venv/.ready-* .venv/.unfinished && touch $@

# The newest versions that fit, in a fresh environment. Without the libraries for GPUs: torch pins
# those itself, and a CPU build has none.
lock: ## Write constraints.txt anew
	@rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet '.[$(EXTRAS)]'
	@{ sed -n '/^#/p' constraints.txt && .cache/lock/bin/python -m pip freeze --all \
	  | sed -n 's/^\([A-Za-z0-9._-]*==[^+ ]*\).*/\1/p' \
	  | grep -viE '^(pip|shoestring|triton|cuda-[a-z-]*|nvidia-[a-z0-9-]*)==' | LC_ALL=C sort -f; \
	  } > .cache/lock/constraints.txt
	@mv .cache/lock/constraints.txt constraints.txt && rm -rf .cache/lock

clean: ## Delete .venv and what was built; .cache stays, its scores took hours
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist site
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
