# The checks of a change, as .ci/run makes them too; `make check` before every commit.
.PHONY: check test slow docs
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
# The API page, of the docstrings: docs/api/index.html.
docs:
	python docs/make_api.py
