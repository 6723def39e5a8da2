# Two commands for a fresh machine (make demo, make test), and what builders need besides. meson does the building.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
export PREFIX DESTDIR

all: build

# Installs what is missing (tools/packages lists it) and compiles into build/.
build:
	@tools/need build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) --buildtype=release >/dev/null
	@ninja -C $(BUILD)

demo:
	@tools/need build demo
	@$(MAKE) --no-print-directory build
	@exec $(BUILD)/postern lab demo examples/homelab/postern.yml

test:
	@tools/need build demo test
	@tools/run-tests

bench:
	@tools/need build bench
	@$(MAKE) --no-print-directory build
	@bench/run

fuzz:
	@tools/need build fuzz
	@tools/run-fuzz

# A PREFIX given here and not at the first build is compiled in first: postern knows where its roles are.
install: build
ifneq ($(origin PREFIX),file)
	@meson configure $(BUILD) --prefix=$(PREFIX) && ninja -C $(BUILD)
endif
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) build-*

.PHONY: all build demo test bench fuzz install clean
