# Thin names over CMake presets and scripts.
.PHONY: plan test bench docs format lint setup clean

plan: setup
	cmake --preset default
	cmake --build --preset default --target opweave
	examples/deepseek-v3/run

test:
	scripts/setup --tests
	scripts/test

bench: setup
	cmake --preset default
	benchmarks/run

docs:
	scripts/setup --tests
	.venv/bin/python -m mkdocs build --strict

setup:
	scripts/setup

format:
	scripts/setup --dev
	git ls-files '*.h' '*.cpp' | xargs clang-format -i

lint:
	scripts/setup --dev
	scripts/lint

clean:
	rm -rf build out
