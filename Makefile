# Thin names over CMake presets and scripts.
.PHONY: plan test sanitize bench docs format style lint setup clean

plan: setup
	cmake --preset default
	cmake --build --preset default --target opweave
	examples/deepseek-v3/run

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
