# Thin names over CMake presets and scripts.
.PHONY: plan python test sanitize bench docs format style lint setup clean

plan: setup
	cmake --preset default
	cmake --build --preset default --target opweave
	examples/deepseek-v3/run

# The package beside the program, from the same objects: only its extension module is compiled.
python: setup
	cmake --preset default
	cmake --build --preset default --target opweave opweave_python
	@echo 'to use it: export PYTHONPATH=$(CURDIR)/build/default/python:$$PYTHONPATH'
	@echo 'with $(CURDIR)/.venv/bin/python, or another Python of its version that has rich and tqdm'

test:
	scripts/setup --tests
	scripts/test

sanitize:
	scripts/setup --tests
	scripts/test dev

bench: setup
	cmake --preset default
	benchmarks/run

docs:
	scripts/setup --tests
	.venv/bin/python -m mkdocs build --strict

setup:
	scripts/setup

format:
	scripts/setup --style
	git ls-files '*.h' '*.cpp' | xargs .venv/bin/clang-format -i

style:
	scripts/setup --style
	scripts/lint --style

lint:
	scripts/setup --dev
	scripts/lint

clean:
	rm -rf build out
