# The checks of a change, as .ci/run makes them too; `make check` before every commit.
.PHONY: check test slow
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m pytest
test:
	python -m pytest
slow:
	python -m pytest -m slow
