# make                build/tiller, after installing what is missing
# make test           builds (make tests) and runs the tests (CI=true: warnings are errors)
# make demo           draws the demo's images into demo/
# make install        into PREFIX (default /usr/local), below DESTDIR
# make bench-cpu      measures beside PyTorch and diffusers, about 25 minutes on 2 cores
# make bench-gpu      likewise on a GPU, with all cases (BENCH_FLAGS, default --full --compile)
# make format         formats the sources; make clean removes the build
#
# Torch_DIR=FOLDER uses that LibTorch (>= 2.11) instead of one in .venv, CMAKE_FLAGS=... is passed to
# CMake, JOBS=N compiles with N processes. Benchmarks take BENCH_PYTHON=PROGRAM (one that has the peers),
# GUIDED_DIFFUSION=CHECKOUT and BENCH_FLAGS=...
BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
WERROR := $(if $(filter true 1,$(CI)),ON,OFF)
export Torch_DIR DESTDIR

.PHONY: all setup configure tests test demo install format clean bench-cpu bench-gpu

all: configure
	@cmake --build $(BUILD) -j $(JOBS) --target program

setup:
	@scripts/packages.sh build $(if $(Torch_DIR),,python)
	@scripts/torch.sh
	@scripts/clip_vocabulary.sh
	@scripts/feature_network.sh

configure: setup
	@scripts/configure.sh $(BUILD) -DTILLER_WERROR=$(WERROR) $(CMAKE_FLAGS)

tests: configure
	@cmake --build $(BUILD) -j $(JOBS)

test: tests
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

demo: all
	@scripts/demo.sh $(BUILD)/tiller demo

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

bench-gpu: BENCH_FLAGS ?= --full --compile

bench-cpu bench-gpu: bench-%: configure
	@if [ $* = gpu ] && ! nvidia-smi -L >/dev/null 2>&1; then echo "bench-gpu: no NVIDIA GPU was found: nothing is measured."; else \
	  cmake --build $(BUILD) -j $(JOBS) --target program bench_unet_evaluation bench_sinkhorn bench_parts bench_attention bench_image && \
	  $$(scripts/bench_python.sh) benchmarks/report.py --build $(BUILD) --device $(if $(filter gpu,$*),cuda,cpu) --report out/bench-$* \
	    $(if $(GUIDED_DIFFUSION),--guided-diffusion $(GUIDED_DIFFUSION)) $(BENCH_FLAGS); fi

format:
	@scripts/format.sh

clean:
	rm -rf $(BUILD)
