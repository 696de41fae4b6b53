# A thin front end to CMake; every target also works by hand through the presets in CMakePresets.json.
.DEFAULT_GOAL := help
.NOTPARALLEL:

# ON, OFF; by default ON where this system has libtorch.
TRAIN ?= $(shell scripts/install-deps.sh --train-available)
# AUTO, ON, OFF. The demo leaves it out where no GPU is: its kernels are most of what there is to compile.
CUDA ?= AUTO
DEMO_CUDA = $(if $(wildcard /dev/nvidia0),$(CUDA),OFF)
CMAKE_ARGS ?=
FUZZ_SECONDS ?= 60
# No reader may ask for more at once, whatever its input claims.
FUZZ_MALLOC_MB ?= 256
CTEST_ARGS ?=
PREFIX ?= /usr/local
export CTEST_PARALLEL_LEVEL ?= $(shell nproc)

MODEL ?= models/demo.safetensors
SAMPLES ?= $(wildcard samples/*.jpg)
NO_TRAIN_FLAG = $(if $(filter OFF,$(TRAIN)),--no-train)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo 'Settings: CUDA=ON|OFF|AUTO  TRAIN=ON|OFF  PREFIX=/usr/local  CMAKE_ARGS=...  CTEST_ARGS=...'

deps:  ## install what the build needs (Debian, Ubuntu; as root or with sudo)
	@scripts/install-deps.sh $(NO_TRAIN_FLAG)

build:  ## build build/lasnet and the tests (Release)
	cmake --preset release -DLASNET_TRAIN=$(TRAIN) -DLASNET_CUDA=$(CUDA) $(CMAKE_ARGS)
	cmake --build --preset release

demo: deps  ## build the program and run the shipped model on the sample photographs
	@cmake --preset release -DLASNET_TRAIN=$(TRAIN) -DLASNET_CUDA=$(DEMO_CUDA) $(CMAKE_ARGS)
	@cmake --build --preset release --target lasnet_app
	@build/lasnet run $(MODEL) $(SAMPLES) --overlay build/demo

test: deps build  ## build and run the tests
	ctest --preset release $(CTEST_ARGS)

test-full: deps build  ## the same, with every combination of the exactness tests
	LASNET_TEST_FULL=1 ctest --preset release $(CTEST_ARGS)

install: build  ## install program and library under PREFIX (default /usr/local)
	cmake --install build --prefix $(PREFIX)

package: deps  ## build the Debian packages in build-package/
	cmake --preset package -DLASNET_TRAIN=$(TRAIN) $(CMAKE_ARGS)
	cmake --build --preset package
	cd build-package && cpack

wheel: deps  ## build the Python package into a wheel in build-wheel/dist/
	scripts/python_wheel.sh wheel

bench: deps build  ## time the ResNets, dense, sparse and beside oneDNN
	@for network in resnet18 resnet50 resnet101; do build/lasnet bench $$network --baseline onednn || exit 1; done

gpu-check: build  ## on a machine with a GPU: check every precision there, then time it beside PyTorch
	scripts/gpu_check.sh build

check-aarch64:  ## cross build for AArch64 and run the engine's tests there under qemu-user
	@scripts/install-deps.sh --no-train --aarch64
	scripts/check_aarch64

fuzz:  ## fuzz the file readers for FUZZ_SECONDS each (needs clang)
	@scripts/install-deps.sh --no-train --fuzz
	cmake --preset fuzz $(CMAKE_ARGS)
	cmake --build --preset fuzz
	@for program in build-fuzz/fuzz_*; do test -x $$program || continue; \
	  reader=$${program##*/fuzz_}; found=build-fuzz/corpus/$$reader; mkdir -p $$found; \
	  echo "== $$program"; $$program -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 \
	    -malloc_limit_mb=$(FUZZ_MALLOC_MB) \
	    $$found tests/fuzz/corpus/$$reader || exit 1; done

docs:  ## write the pages of the public headers to build-docs/html, and fail on what has no comment
	@scripts/install-deps.sh --no-train --docs
	doxygen cmake/Doxyfile

demo-model: deps build  ## rebuild the data set and train the shipped model again
	scripts/train_demo_model.sh

format:  ## clang-format every C++ and CUDA file
	git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format -i

clean:  ## remove the build folders
	rm -rf build build-*/

.PHONY: help deps build demo test test-full install package wheel bench gpu-check check-aarch64 fuzz docs demo-model format clean
