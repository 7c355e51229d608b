# make test  the test suite; make demo  the demo; make finetune  LoRA on real data. They create .venv and install into it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The CPU build of PyTorch: the PyPI build for Linux brings 3 GB of CUDA. See the README for where to get it.
TORCH ?= torch==2.13.0+cpu
TORCH_ANY ?= torch==2.13.0
BIN := .venv/bin
TORCHVISION := .venv/torchvision

.PHONY: help install demo finetune test conformance lint format clean

help:
	@sed -n 's/^# //p' Makefile | head -1
	@echo "make conformance  every architecture against PyTorch; make lint  the linters; make format  rewrite the formatting; make install  only create .venv"

install: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(BIN)/pip install --disable-pip-version-check --quiet "$(TORCH)" \
	  || { echo "$(TORCH) is not in pip's indexes; installing $(TORCH_ANY), which may bring CUDA (see the README)"; \
	       $(BIN)/pip install --disable-pip-version-check "$(TORCH_ANY)"; }
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt --editable '.[test,demo]'
	touch $@

.venv/train: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt --editable '.[train]'
	touch $@

# timm brings torchvision, and transformers fails where that does not fit torch (PyPI's build beside torch's CPU build):
# then it goes to a folder of its own, which only the tests of timm see. With torch's version named, pip leaves torch be.
.venv/conformance: .venv/train
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt --editable '.[conformance]'
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt --editable '.[timm]' \
	  "torch==$$($(BIN)/python -c 'import torch; print(torch.__version__)')" \
	  || echo "timm or its torchvision is not in pip's indexes: its tests are skipped"
	$(BIN)/python -c 'import torchvision' 2>/dev/null || ! $(BIN)/pip show --quiet torchvision 2>/dev/null \
	  || { $(BIN)/pip install --disable-pip-version-check --quiet --upgrade --no-deps --target $(TORCHVISION) \
	         "torchvision==$$($(BIN)/python -c 'from importlib.metadata import *; print(version("torchvision"))')"; \
	       $(BIN)/pip uninstall --quiet --yes torchvision; }
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

finetune: .venv/train
	$(BIN)/python examples/finetune.py

# Two processes of one thread each: MindSpore's and PyTorch's thread pools would otherwise wait for each other.
test: .venv/conformance
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)
	test ! -d $(TORCHVISION) || PYTHONPATH=$(TORCHVISION) $(BIN)/pytest tests/test_timm.py

conformance: .venv/conformance
	PYTHONPATH=$(TORCHVISION) $(BIN)/hf-ascend conformance

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
