# The commands of this repository. `make` alone lists them; each one makes the environment that it needs.

BIN := .venv/bin
CLIENTS := .venv-clients
CONFORMANCE := .venv-conformance
DOCS := site .cache .zensical.toml

.DEFAULT_GOAL := help
.PHONY: help demo test clients conformance check dist docs notebooks bench family quality ptx accuracy train fix clean format lint types
.PHONY: tests FORCE
.NOTPARALLEL:

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: .venv/.minima-demo  ## train a small network and draw what happened (ARGS="..." is passed on)
	$(BIN)/minima demo $(ARGS)

test: .venv/.minima-dev tests  ## run every test: the suite, the docstrings, the code in README.md and docs/

clients: $(CLIENTS)/.minima-clients  ## run the tests inside the libraries that people train with (ARGS="..." is passed on)
	$(CLIENTS)/bin/python -m pytest tests/clients docs/jax.md $(ARGS)

conformance: $(CONFORMANCE)/.minima-conformance  ## compare every rule with other libraries, and record how far apart they are
	$(CONFORMANCE)/bin/python tools/conformance.py $(ARGS)

check: .venv/.minima-dev format lint types tests docs  ## all that must pass before a change lands

dist: .venv/.minima-dev  ## build wheel and sdist, and check both on every Python (ARGS="..." is passed on)
	$(BIN)/python tools/dist.py $(ARGS)

docs: .venv/.minima-dev  ## build the site into site/; a warning is an error
	$(BIN)/python tools/docs/build.py

notebooks: docs  ## run the chapters of the docs as notebooks, which the site links: site/notebooks

bench: .venv/.minima-dev  ## time optimizer steps beside PyTorch, optax and memory (ARGS="..." is passed on)
	$(BIN)/python benchmarks/step.py $(ARGS)

family: .venv/.minima-dev  ## time a step of every optimizer beside its ceiling and its fastest peer (ARGS="..." is passed on)
	$(BIN)/python benchmarks/family.py $(ARGS)

quality: .venv/.minima-dev  ## train small problems with every optimizer, its learning rate searched (ARGS="..." is passed on)
	$(BIN)/python benchmarks/quality.py $(ARGS)

ptx: .venv/.minima-dev  ## run every kernel for NVIDIA GPUs by an interpreter, beside the CPU's, and assemble it
	MINIMA_EVERY_KERNEL=1 $(BIN)/python -m pytest $(ARGS) tests/optim/test_optim_cuda*.py tests/pytorch/test_torch_cuda*.py

accuracy: .venv/.minima-dev  ## measure exp, log, powers and cube roots on every number of float32 (ARGS="..." is passed on)
	$(BIN)/python tools/accuracy.py $(ARGS)

train: .venv/.minima-dev  ## time whole training steps beside PyTorch (ARGS="..." is passed on)
	$(BIN)/python benchmarks/train.py $(ARGS)

fix: .venv/.minima-dev  ## let ruff format the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## delete what the commands wrote, except the environments
	rm -rf build dist $(DOCS) .pytest_cache .ruff_cache .hypothesis demo.png

# The parts of `make check`.

format: .venv/.minima-dev
	$(BIN)/ruff format --check .

lint: .venv/.minima-dev
	$(BIN)/ruff check .

types: .venv/.minima-dev
	$(BIN)/pyright

tests: .venv/.minima-dev
	$(BIN)/python -m pytest $(ARGS)

# A stamp says: this extra of minima is installed as pyproject.toml and constraints.txt now ask for it.
# A stamp counts for nothing once the Python that it stands for has gone.

.venv/.minima-%: pyproject.toml constraints.txt
	@tools/env.sh $*

$(CLIENTS)/.minima-clients: pyproject.toml constraints.txt constraints-clients.txt
	@tools/env.sh clients $(CLIENTS) constraints-clients.txt
# torchvision made for another PyTorch breaks all that look for it; without it only timm, which needs it, is left out.
	@$(CLIENTS)/bin/python -c "import torchvision" 2>/dev/null || $(CLIENTS)/bin/python -m pip uninstall --quiet --yes torchvision

$(CONFORMANCE)/.minima-conformance: pyproject.toml constraints.txt constraints-clients.txt
	@tools/env.sh conformance $(CONFORMANCE) constraints-clients.txt

ifneq ($(shell .venv/bin/python -c "print(1)" 2>/dev/null),1)
.venv/.minima-dev .venv/.minima-demo: FORCE
endif
ifneq ($(shell $(CLIENTS)/bin/python -c "print(1)" 2>/dev/null),1)
$(CLIENTS)/.minima-clients: FORCE
endif
ifneq ($(shell $(CONFORMANCE)/bin/python -c "print(1)" 2>/dev/null),1)
$(CONFORMANCE)/.minima-conformance: FORCE
endif
