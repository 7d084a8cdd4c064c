# One make, no recursion: each folder's build.mk names its own files.
#
#	make			the programs, in build/bin
#	make check		install what tests need, build, run every test
#	make demo		install what is missing, build, boot a machine
#	make check-host		the tests that need no emulated host
#	make lint		formatters and static analysers
#	make fuzz		each fuzz target for FUZZ_SECONDS
#	make bench		side by side with QEMU and others
#	make install		to $(DESTDIR)$(PREFIX)
#
# CC, CFLAGS, LDFLAGS and B (where everything is built) may be given; V=1 shows
# whole commands.
PREFIX	?= /usr/local
BINDIR	?= $(PREFIX)/bin
MANDIR	?= $(PREFIX)/share/man
CFLAGS	?= -O2 -g
B	?= build
VERSION	:= 0.1
.DEFAULT_GOAL := all
FUZZ_SECONDS ?= 60

WARN	= -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wundef -Wformat=2 \
	  -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	  -Wwrite-strings -Wswitch-enum -Wimplicit-fallthrough \
	  -Wcast-align -Wconversion -Wno-sign-conversion -Werror
override CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -I$(B) \
	  -DPIPEVISOR_VERSION='"$(VERSION)"'
override CFLAGS	+= -std=c11 $(WARN) -fstack-protector-strong -pthread
override LDFLAGS += -pthread -Wl,--as-needed

is_silent = $(findstring s,$(firstword -$(MAKEFLAGS)))
say	= $(if $(V),,@$(if $(is_silent),,echo '  $(1) $@' && ))
# As many jobs as processors, unless somebody chose.
parallel = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# Found when a recipe runs, so that make works before they are installed.
pkg	= $(shell pkg-config --libs $(1))
IMAGE_LIBS = $(call pkg,libdeflate libzstd liburing) -lbz2
VDE_LIBS = -lvdeplug

PROGS	:=
LIB_SRCS :=
GENERATED :=
include lib/base/build.mk lib/virtio/build.mk lib/vhost/build.mk \
	lib/image/build.mk $(wildcard vm-*/build.mk)

all: $(PROGS:%=$(B)/bin/%)

# Tests and fuzz targets are one source each; shared pieces have none of
# their own main() and stand in tests/support.
UNIT_SRCS := $(wildcard tests/unit/*.c)
FUZZ_SRCS := $(wildcard tests/fuzz/*.c)
SUPPORT_SRCS := $(wildcard tests/support/*.c)
BENCH_SRCS := $(wildcard tests/bench/*.c)
TOOL_SRCS := $(wildcard tests/tools/*.c)

objs	= $(patsubst %.c,$(B)/%.o,$(1))
PROG_SRCS = $(foreach p,$(PROGS),$($(p)_SRCS))
SRCS	= $(LIB_SRCS) $(PROG_SRCS) $(UNIT_SRCS) $(SUPPORT_SRCS) \
	  $(BENCH_SRCS) $(TOOL_SRCS)

$(B)/libpipevisor.a: $(call objs,$(LIB_SRCS))
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^
$(B)/libsupport.a: $(call objs,$(SUPPORT_SRCS))
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

# A program's own sources but main.c are an archive too: unit tests link it.
define program
$(B)/$(1)/$(1).a: $(call objs,$(filter-out %/main.c,$($(1)_SRCS)))
	@rm -f $$@
	$$(call say,AR)$(AR) rcs $$@ $$^
$(B)/bin/$(1): $(B)/$(1)/main.o $(B)/$(1)/$(1).a $(B)/libpipevisor.a
	@mkdir -p $$(@D)
	$$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $$@ $$^ $$($(1)_LIBS)
.PHONY: $(1)-only
$(1)-only: $(B)/bin/$(1)
endef
$(foreach p,$(PROGS),$(eval $(call program,$(p))))

ARCHIVES = $(foreach p,$(PROGS),$(B)/$(p)/$(p).a) $(B)/libsupport.a \
	  $(B)/libpipevisor.a
TEST_LIBS = $(IMAGE_LIBS) $(VDE_LIBS) $(call pkg,cmocka)
$(UNIT_SRCS:%.c=$(B)/%) $(BENCH_SRCS:%.c=$(B)/%) $(TOOL_SRCS:%.c=$(B)/%): \
		$(B)/%: $(B)/%.o $(ARCHIVES)
	$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ARCHIVES) \
		-Wl,--end-group $(TEST_LIBS)

$(B)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

include tests/build.mk

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 \
		$(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7
	install -m 755 $(PROGS:%=$(B)/bin/%) $(DESTDIR)$(BINDIR)
	for s in 1 5 7; do for m in man/*.$$s; do [ ! -e $$m ] || \
		install -m 644 $$m $(DESTDIR)$(MANDIR)/man$$s; done; done

clean:
	rm -rf $(B)

.PHONY: all install clean
# Objects of the tests are kept; .SECONDARY would also leave out of an archive
# a new file that is older than it.
.PRECIOUS: $(B)/%.o
.DELETE_ON_ERROR:
-include $(patsubst %.c,$(B)/%.d,$(SRCS))
