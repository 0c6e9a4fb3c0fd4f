# make demo     sets up and makes a textured mesh from a sentence: demo/mushroom.glb
# make gallery  sets up and makes a mesh of every shape, to look at in gallery/index.html (about an hour; it can be
#               interrupted and goes on)
# make recipes  sets up and studies which settings make good meshes: docs/recipes.md (hours; goes on where it was)
# make table    sets up and compares every method in one table: table/table.html (an hour, the diagnoses more; goes on)
# make test     sets up and runs every check: style, types, import rules, tests, those in Blender's own Python module too
#               (1 GB; skipped with the reason where it cannot be set up, and with BLENDER_TESTS=off)
# make bench    sets up and remakes the tables in benchmarks/results (takes hours)
# make extension      builds the Blender extension's zips into dist (fetches pyzmq's wheels once)
# make test-blender   tests the extension in Blender's own Python module (1 GB); another one with BPY=4.5.15, or all of them
#                     with BPY="4.3.0 4.5.15 5.0.1 5.2.3"
# make gui-test       leads a real Blender with windows through an artist's first mesh; another one with SUITE=sid, and
#                     through the first sketch, drawn with the mouse, with SCENARIO=first_sketch
# make bench-blender  measures what the extension costs Blender's main thread

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed

# Two torch threads that spin while they wait for each other make a step on busy cores 10 to 50 times slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo gallery recipes table test bench extension test-blender gui-test bench-blender setup clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    (echo "Sketchbridge needs Python 3.11 or newer; say which with: make PYTHON=python3.11"; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/sketchbridge text "a red mushroom" -o demo/mushroom.glb --run-dir demo/runs
	@cp "$$(ls -td demo/runs/*/ | head -n 1)turntable.gif" demo/mushroom-turntable.gif
	@cp "$$(ls -td demo/runs/*/ | head -n 1)report.html" demo/mushroom-report.html
	@echo "Look at demo/mushroom.glb in Blender or any glTF viewer, demo/mushroom-turntable.gif, demo/mushroom-report.html"

gallery: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python benchmarks/gallery.py

recipes: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python benchmarks/recipes.py --write

table: $(INSTALLED)
	$(BIN)/python -m tools.embedded_world.references --out table/references
	$(BIN)/sketchbridge table --references table/references --diagnose --out table

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto
	tests/blender/run.sh auto -q

extension: $(INSTALLED)
	$(BIN)/python -m tools.build_extension

BPY ?= auto

test-blender: $(INSTALLED)
	set -e; for version in $(BPY); do tests/blender/run.sh $$version; done

SUITE ?= trixie
SCENARIO ?= first_mesh

gui-test: $(INSTALLED)
	tests/blender/gui/run.sh $(SUITE) $(SCENARIO)

bench-blender:
	.venv-bpy/bin/python benchmarks/blender_ticks.py --write

# Only what can be run is a benchmark; the gallery is no measurement, and the study of recipes writes to docs.
NO_BENCHMARKS := gpu_networks gpu_measuring gallery recipes measuring mesh_runs prior_samples view_reader blender_ticks served_job
BENCHMARKS := $(filter-out $(NO_BENCHMARKS:%=benchmarks/%.py),$(wildcard benchmarks/*.py))

bench: $(BENCH_INSTALLED)
	failed=0; for benchmark in $(BENCHMARKS); do \
	    OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python $$benchmark --write || failed=1; \
	done; exit $$failed

clean:
	rm -rf $(VENV) demo gallery table build
