# What proves the programs. tests/run counts; it stands beside this file.

UNITS	= $(UNIT_SRCS:%.c=$(B)/%)
TOOLS	= $(TOOL_SRCS:%.c=$(B)/%)
PRELOAD_SRCS = $(wildcard tests/preload/*.c)
PRELOADS = $(PRELOAD_SRCS:%.c=$(B)/%.so)
# Small guests of our own, which any KVM runs.
KVM_TESTS = tests/vm-cpu.sh tests/vm-run-tiny.sh
KVM_TESTS_HERE = $(if $(wildcard /dev/kvm),$(KVM_TESTS))
HOST_TESTS = $(filter-out $(KVM_TESTS),$(wildcard tests/vm-*.sh \
	tests/interop/*.sh))
# Those of the lab and of the guests run nothing of ours; the README's have
# build/bin.
# The addresses of what a crash leaves behind are no others each time, who is
# killed tells of no leak, and a device that is run by single instructions has
# many more of them there.
REPLAYS = $(wildcard tests/interop/*-crash.sh tests/interop/*-crash-do.sh \
	tests/interop/*-kill.sh)
# Hundreds of command lines that go where other tests have been.
TABLES = $(patsubst %,tests/vm-img-%.sh,options format-options prefixes \
	abbreviations)
ASAN_TESTS = $(filter-out tests/vm-lab.sh tests/interop/guests.sh \
	tests/interop/readme.sh $(REPLAYS) $(TABLES),$(HOST_TESTS))
# The longest first, so that the end is not one alone.
LAB_LONGEST = $(patsubst %,tests/lab/test-%.sh,devices run cpu net)
LAB_TESTS = $(LAB_LONGEST) $(filter-out $(LAB_LONGEST),\
	$(wildcard tests/lab/test-*.sh))
HEADERS	= $(wildcard protocols/*.h lib/*/*.h vm-*/*.h tests/support/*.h)

include tests/guests/build.mk

units: $(UNITS) $(TOOLS) $(PRELOADS) $(GUESTS)

# Into programs that are not ours, so without any sanitizer.
$(PRELOADS): $(B)/%.so: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -o $@ $<

check:
	@tests/install-packages build test
	@+$(MAKE) $(parallel) --no-print-directory check-built
check-built: all units check-layers check-headers
	@B=$(B) tests/run $(UNITS) $(HOST_TESTS) --kvm $(KVM_TESTS) \
		--lab $(LAB_TESTS)
check-host: all units check-layers check-headers
	@B=$(B) tests/run $(UNITS) $(HOST_TESTS) $(KVM_TESTS_HERE)
check-units: units
	@B=$(B) tests/run $(UNITS)

# Random operations on qcow2 images of every kind, OPS_SEQUENCES of them; a
# tenth of a second each; as many random disks converted, rebased and committed;
# and a fifth as many changed in place or copied both by vm-img and by qemu-img,
# half a second each, and written to by several threads at once, a second each.
OPS_SEQUENCES ?= 10000
check-ops: $(addprefix check-long-,ops verbs changes copies threads)
check-long-changes check-long-copies check-long-threads: OPS_SHARE = 5
check-long-%: all units
	@B=$(B) PATH=$(abspath $(B)/bin):$$PATH tests/long-$* \
		$$(($(OPS_SEQUENCES) / $(or $(OPS_SHARE),1)))

# The same tests with every address and every shift checked. A program with the
# sanitizers' libraries in it, as clang's always are, starts in three quarters
# of the time.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all \
	  -fno-omit-frame-pointer
STATIC_SANITIZE = $(if $(findstring clang,$(CC)),,\
	  -static-libasan -static-libubsan)
check-asan:
	@+ASAN_OPTIONS=detect_leaks=1 $(MAKE) --no-print-directory \
		B=$(B)/asan CFLAGS='-O1 -g $(SANITIZE)' \
		LDFLAGS='$(SANITIZE) $(STATIC_SANITIZE)' \
		check-asan-built
check-asan-built: all units
	@B=$(B) tests/run $(filter-out %/vhost_inflight,$(UNITS)) \
		$(ASAN_TESTS) $(KVM_TESTS_HERE)

# protocols/ knows nothing of ours; a library knows no program and no library
# above it; no program knows another.
check-layers:
	@! grep -rnE '#include "\.\./' protocols lib vm-* tests
	@! grep -nE '#include "(lib|vm-)' protocols/*.h /dev/null
	@! grep -rnE '#include "vm-' lib
	@! grep -rnE '#include "lib/(virtio|vhost|image)' lib/base
	@! grep -rnE '#include "lib/(vhost|image)' lib/virtio
	@! grep -rnE '#include "lib/image' lib/vhost
	@! grep -rnE '#include "lib/(virtio|vhost)' lib/image
	@! for p in $(PROGS); do grep -nE '#include "vm-' $$p/*.[ch] \
		/dev/null | grep -v "\"$$p/"; done | grep .

# Every header compiles alone.
check-headers: | $(GENERATED)
	@set -e; for h in $(HEADERS); do \
		$(CC) $(CPPFLAGS) $(CFLAGS) -fsyntax-only -x c -include $$h \
			/dev/null; done

# libFuzzer; FUZZ_SECONDS for each target, seeds in tests/fuzz/NAME.seeds/.
FUZZERS	= $(FUZZ_SRCS:tests/fuzz/%.c=$(B)/fuzz/%)
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer-no-link,address,undefined \
	  -fno-sanitize-recover=all
FUZZ_OBJS = $(LIB_SRCS:%.c=$(B)/fuzz-objs/%.o)
FUZZ_LIMIT = tests/fuzz/support/heap_limit
$(B)/fuzz-objs/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(call say,CC)clang $(CPPFLAGS) -std=c11 $(FUZZ_FLAGS) -pthread -MMD -MP -c -o $@ $<
$(B)/fuzz-objs/lib.a: $(FUZZ_OBJS)
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^
.SECONDEXPANSION:
$(FUZZERS): $(B)/fuzz/%: tests/fuzz/%.c \
		$$(patsubst %.c,$(B)/fuzz-objs/%.o,$$($$*_FUZZ_SRCS)) \
		$(B)/fuzz-objs/$(FUZZ_LIMIT).o $(B)/fuzz-objs/lib.a
	@mkdir -p $(@D)
	$(call say,CC)clang $(CPPFLAGS) -std=c11 $(FUZZ_FLAGS) -fsanitize=fuzzer -pthread \
		-Wl,--wrap=LLVMFuzzerTestOneInput -o $@ $^ $(IMAGE_LIBS)
-include $(FUZZ_OBJS:.o=.d)
fuzzers: $(FUZZERS)
fuzz: $(FUZZERS:$(B)/fuzz/%=fuzz-%)
$(FUZZERS:$(B)/fuzz/%=fuzz-%): fuzz-%: $(B)/fuzz/%
	@mkdir -p $(B)/corpus/$*
	@echo "fuzz $*"
	@$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 \
		-rss_limit_mb=1024 -print_final_stats=1 \
		$(B)/corpus/$* $(wildcard tests/fuzz/$*.seeds)

SCRIPTS	= $(shell grep -rlE '^\#!/bin/(ba)?sh' .ci tests 2>/dev/null)
C_FILES	= $(LIB_SRCS) $(PROG_SRCS) $(UNIT_SRCS) $(SUPPORT_SRCS) \
	  $(FUZZ_SRCS) $(FUZZ_LIMIT).c $(BENCH_SRCS) $(TOOL_SRCS) \
	  $(PRELOAD_SRCS) $(HEADERS)
format:
	clang-format -i $(C_FILES)
lint: | $(GENERATED)
	@clang-format --dry-run -Werror $(C_FILES)
	@cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,portability -D_GNU_SOURCE -I. -I$(B) \
		--suppressions-list=tests/cppcheck.txt -j2 \
		$(LIB_SRCS) $(PROG_SRCS)
	@printf '%s\n' $(LIB_SRCS) $(PROG_SRCS) | xargs -P2 -n8 sh -c \
		'clang-tidy --quiet --warnings-as-errors="*" "$$@" -- \
		-std=c11 -D_GNU_SOURCE -I. -I$(B) \
		-DPIPEVISOR_VERSION=\"$(VERSION)\"' tidy
	@printf '%s\n' $(SCRIPTS) | xargs -P2 -n8 shellcheck -x -e SC1091
	@mandoc -Tlint -Wwarning man/*.[157]

bench: all $(BENCH_SRCS:%.c=$(B)/%)
	@tests/install-packages build test bench
	@set -e; for b in tests/bench/*; do [ ! -f $$b ] || [ ! -x $$b ] || \
		{ echo "== $$b"; B=$(B) $$b; }; done

demo:
	@tests/install-packages build demo
	@+$(MAKE) $(parallel) --no-print-directory all
	@B=$(B) tests/demo

.PHONY: units check check-built check-host check-units check-ops check-asan \
	check-asan-built check-layers check-headers fuzzers fuzz format lint \
	bench demo
