# The developer's and the user's commands. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
SOURCE ?=
PAIRS ?=
LICENCE ?=
QUESTION ?=
ONCE ?=
PYTEST_ARGS ?=

export JEEVES_DATA_DIR ?= var
export GATEWAY_PORT COLLECTOR_PORT CURATOR_PORT TRAINER_PORT

BIN := $(VENV)/bin
CODE := shared services deploy tests
RUN_OPTIONS = $(if $(ONCE),--once) $(if $(SOURCE),--source "$(SOURCE)") $(if $(PAIRS),--pairs "$(PAIRS)") \
	$(if $(LICENCE),--licence "$(LICENCE)") $(if $(QUESTION),--question "$(QUESTION)")

.PHONY: help
help: ## Show the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: install
install: ## Set up the virtual environment (done by run and test).
	@$(PYTHON) deploy/install.py --venv "$(VENV)"

.PHONY: run
run: install ## Teach a model Jenkins and chat with it. SOURCE=<folder or git address> PAIRS=<csv or jsonl> ONCE=1
	@exec $(BIN)/jeeves run $(RUN_OPTIONS)

.PHONY: up
up: install ## Start the services only.
	@exec $(BIN)/jeeves up

.PHONY: install-test
install-test:
	@$(PYTHON) deploy/install.py --venv "$(VENV)" --test

.PHONY: test
test: install-test ## Run every test that this machine can run.
	$(BIN)/python -m pytest -m "not docker and not gpu and not builds and not long" $(PYTEST_ARGS)

.PHONY: test-quick
test-quick: install-test ## Run the tests that take seconds.
	$(BIN)/python -m pytest -m "not slow and not e2e and not docker and not gpu" $(PYTEST_ARGS)

.PHONY: test-long
test-long: install-test ## Overfit the real small model up to the gate; train in several processes.
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

.PHONY: test-builds
test-builds: install-test ## Execute the Jenkinsfile against real services: a champion, nothing to do, refusals.
	$(BIN)/python -m pytest -m builds tests/jenkins $(PYTEST_ARGS)

.PHONY: test-containers
test-containers: install-test ## Build the images and run them on a Docker engine (root, Debian).
	$(BIN)/python -m pytest -m docker tests/containers $(PYTEST_ARGS)

.PHONY: check
check: install-test ## Lint, format, types, import rules; changes nothing.
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy shared/jeeves_shared shared/jeeves_cli services/collector/jeeves_collector services/curator/jeeves_curator services/trainer/jeeves_trainer services/gateway/jeeves_gateway
	$(BIN)/lint-imports

.PHONY: fix
fix: install-test ## Mend what the tools can mend.
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# datatrove's own steps, to compare with, in an environment of their own: they need an older xxhash than we do.
$(VENV)/peers/bin/python:
	@$(PYTHON) -m venv $(VENV)/peers
	@$(VENV)/peers/bin/pip install -q "datatrove[io,processing]==0.10.1" "xxhash<4" "./shared[search]" ./services/curator

.PHONY: bench
bench: install-test $(VENV)/peers/bin/python ## Print the figures of this machine.
	$(BIN)/python tests/bench/bench_collector.py
	$(BIN)/python tests/bench/bench.py
	$(VENV)/peers/bin/python tests/bench/curation_bench.py --no-material
	$(BIN)/python tests/bench/curation_bench.py --no-copies
	$(BIN)/python tests/bench/search_bench.py
	$(BIN)/python tests/bench/search_quality.py
	$(BIN)/python tests/bench/training_bench.py

# Of other versions of transformers, trl and peft than ours. PyPI's torchvision and torchaudio only load beside CUDA's torch.
$(VENV)/llamafactory/bin/python:
	@$(PYTHON) -m venv $(VENV)/llamafactory
	@$(VENV)/llamafactory/bin/pip install -q "llamafactory==0.9.5"
	@$(VENV)/llamafactory/bin/pip uninstall -q -y torchvision torchaudio

.PHONY: bench-training
bench-training: install-test $(VENV)/llamafactory/bin/python ## Measure training beside a bare trl loop and LLaMA-Factory, which is fetched (10 minutes).
	$(BIN)/python tests/bench/training_bench.py --llamafactory $(VENV)/llamafactory/bin/python

.PHONY: bench-gateway
bench-gateway: install-test ## Measure the gateway beside LiteLLM and nginx, which are fetched (5 minutes).
	$(BIN)/python tests/bench/gateway_bench.py

.PHONY: bench-engine
bench-engine: install-test ## Measure the supervised engine beside a bare one and llama_cpp.server (5 minutes).
	$(BIN)/python tests/bench/engine_bench.py

.PHONY: bench-refusals
bench-refusals: install-test ## Measure what hostile requests cost the gateway (2 minutes).
	$(BIN)/python tests/bench/refusal_bench.py

.PHONY: bench-models
bench-models: install-test ## Check breaker and ladder against their models, a million steps each.
	JEEVES_MODEL_EXAMPLES=20000 $(BIN)/python -m pytest -q services/gateway/tests -k "breaker_model or ladder_model"

.PHONY: fuzz
fuzz: install-test ## Send the gateway more than 10,000 requests made from OpenAPI documents, and 2,000 that must not mix.
	JEEVES_FUZZ_EXAMPLES=180 JEEVES_CROSSTALK_REQUESTS=2000 $(BIN)/python -m pytest -s \
		services/gateway/tests/test_gateway_openapi_fuzz.py services/gateway/tests/test_gateway_crosstalk.py

.PHONY: clean
clean: ## Remove the virtual environment and all data of this folder.
	rm -rf "$(VENV)" "$(JEEVES_DATA_DIR)"
