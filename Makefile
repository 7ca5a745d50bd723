# Makefile - builds, checks and installs tidepool. `make help` lists the targets.
#
# gcc and GNU make are enough for everything but `check`, `demo` and `extras`;
# those get what they lack through tools/deps.sh.
#
# What you may set: CC CXX CFLAGS LDFLAGS, BUILD (where all output goes),
# WERROR=1 (warnings are errors; CI=true does the same), V=1 (shows commands),
# PREFIX LIBDIR DESTDIR (install). A changed setting rebuilds what it concerns.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),g++)
endif
AR ?= ar
CFLAGS ?= -O2 -g
BUILD ?= build
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
STRESS_OPS ?= 1000000
export BUILD CC CXX

Q := $(if $(V),,@)
silent = $(findstring s,$(firstword -$(MAKEFLAGS)))
say = @$(if $(V)$(silent),:,printf '  %-7s %s\n' $(1) $(2))

version_of = $(shell sed -n 's/^.define TIDE_VERSION_$(1) *"*\([0-9.]*\)"*$$/\1/p' \
    include/tidepool/version.h)
VERSION := $(call version_of,STRING)
SONAME := libtidepool.so.$(call version_of,MAJOR)

# ---- flags -------------------------------------------------------------------
# The library is one object for every use: preloaded, linked, static. It names
# its own malloc, so the compiler must not think it knows what malloc does.
# -fexceptions lets bad_alloc pass through operator new.

WARN := -Wall -Wextra $(if $(WERROR)$(filter true,$(CI)),-Werror)
NO_BUILTIN := -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
C_BASE := -std=gnu17 $(WARN) -Iinclude
C_LIB := $(C_BASE) -D_GNU_SOURCE -Icore -fPIC -fvisibility=hidden \
    -ftls-model=initial-exec -fexceptions $(NO_BUILTIN)
C_DEBUG := $(C_LIB) -Og -g -DTIDE_DEBUG=1
# Without `null`: gcc lets the addition that makes a thread variable's address also set the
# flags for this check, and the linker turns it into one that sets none. A null pointer is a
# fault anyway.
SANITIZE := -fsanitize=address,undefined -fno-sanitize=null -fno-sanitize-recover=undefined
C_ASAN := $(C_LIB) -O1 -g -fno-omit-frame-pointer -DTIDE_DEBUG=1 $(SANITIZE)
C_TSAN := $(C_LIB) -O1 -g -fno-omit-frame-pointer -DTIDE_DEBUG=1 -fsanitize=thread
# The fuzzers are made by clang, whatever CC is: only it has libFuzzer.
FUZZ_CC ?= clang
C_FUZZ := $(C_ASAN) -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp
C_TEST := $(C_BASE) -Icore -g -pthread $(NO_BUILTIN) -Wno-unknown-warning-option \
    -Wno-use-after-free -Wno-free-nonheap-object
CHECK_CFLAGS = $(shell pkg-config --cflags check)
CHECK_LIBS = $(shell pkg-config --libs check)

# For a quick start: fewer mappings, no search for our own functions (but for those that a program
# may replace), no crtbegin.o.
LD_SO := -shared -pthread -Wl,-soname,$(SONAME) -Wl,--version-script=core/tidepool.map \
    -Wl,-z,now,-z,relro,-z,nodelete,-z,noexecstack -Wl,--as-needed -Wl,--no-undefined \
    -nostartfiles -Wl,-z,noseparate-code -Wl,-Bsymbolic-functions \
    -Wl,--dynamic-list=core/replaceable.map

# ---- sources -----------------------------------------------------------------

BOX := $(sort $(patsubst core/box/%.c,%,$(wildcard core/box/*.c)))
TOOL := $(patsubst tools/tidepool/%.c,%,$(wildcard tools/tidepool/*.c))
BROKER := $(patsubst tools/tidepool-broker/%.c,%,$(wildcard tools/tidepool-broker/*.c))
BENCH := $(patsubst bench/%.c,%,$(wildcard bench/*.c))
HEADERS := $(wildcard include/tidepool/*.h)

# tests/test_*.c    libcheck, one file per box: debug, ASan+UBSan, and TSan
#                   where the file starts threads
# tests/stress_*.c  programs over the public API; first argument: operations.
#                   With -DSTRESS_PLAIN they use libc's names, under preload
# tests/prog_*.c|cc programs without the library, to be run under preload
# tests/plug_*.c|cc shared objects for those programs to open
# tests/fuzz/fuzz_*.c  fuzz harnesses, each built twice: by clang with libFuzzer, and with
#                   fuzz_main.c as a program that replays files
# tests/*.sh        scripts; the section is the name up to the first _ or .
#                   (lib*.sh is for scripts to read, not to run)
TEST := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
STRESS := $(patsubst tests/%.c,%,$(wildcard tests/stress_*.c))
# The log has no names in libc.
STRESS_PLAIN := $(filter-out stress_log stress_killed stress_crew stress_hosts,$(STRESS))
# An order of two threads' accesses that goes by another process is one that TSan cannot see.
STRESS_TSAN := $(filter-out stress_crew stress_hosts,$(STRESS))
PROG := $(basename $(notdir $(wildcard tests/prog_*.c tests/prog_*.cc)))
PLUG := $(basename $(notdir $(wildcard tests/plug_*.c tests/plug_*.cc)))
FUZZ := $(filter-out main,$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
SCRIPT := $(filter-out tests/lib%,$(sort $(wildcard tests/*.sh)))
STRAY := $(filter-out tests/test_% tests/stress_% tests/prog_% tests/plug_%,\
    $(wildcard tests/*.c tests/*.cc))

# Tests that start threads but that ThreadSanitizer cannot run.
TSAN_SKIP :=
TSAN_TEST = $(filter-out $(TSAN_SKIP),$(if $(TEST),$(patsubst tests/%.c,%,\
    $(shell grep -l pthread_create $(TEST:%=tests/%.c)))))

# ---- outputs -----------------------------------------------------------------

SO := $(BUILD)/libtidepool.so
LIBS := $(SO) $(BUILD)/$(SONAME) $(BUILD)/libtidepool.a $(BUILD)/libtidepool_api.a
FOLLOW := $(BUILD)/libtidepool_follow.so
TOOL_BIN := $(if $(TOOL),$(BUILD)/tidepool $(FOLLOW))
BROKER_BIN := $(BUILD)/tidepool-broker
BROKER_ASAN := $(BUILD)/asan/tidepool-broker
BENCH_BIN := $(BENCH:%=$(BUILD)/bench/%)
MICRO_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/micro/micro_*.c))
DEBUG_OBJ := $(BOX:%=$(BUILD)/debug/obj/%.o)
ASAN_OBJ := $(patsubst %,$(BUILD)/asan/obj/%.o,$(filter-out override,$(BOX)))
TSAN_OBJ := $(patsubst %,$(BUILD)/tsan/obj/%.o,$(filter-out override,$(BOX)))
FUZZ_OBJ := $(patsubst %,$(BUILD)/fuzz/obj/%.o,$(filter-out override,$(BOX)))
DEBUG_LIBS := $(BUILD)/libtidepool_dbg.so $(BUILD)/libtidepool_dbg.a \
    $(BUILD)/libtidepool_api_dbg.a
ASAN_LIB := $(BUILD)/libtidepool_api_asan.a
TSAN_LIB := $(BUILD)/libtidepool_api_tsan.a
FUZZ_LIB := $(BUILD)/fuzz/libtidepool_api.a
TEST_BIN := $(TEST:%=$(BUILD)/tests/debug/%)
TEST_ASAN_BIN := $(TEST:%=$(BUILD)/tests/asan/%)
TEST_TSAN_BIN = $(TSAN_TEST:%=$(BUILD)/tests/tsan/%)
STRESS_BIN := $(foreach v,release asan,$(STRESS:%=$(BUILD)/tests/$(v)/%)) \
    $(STRESS_TSAN:%=$(BUILD)/tests/tsan/%) \
    $(STRESS_PLAIN:%=$(BUILD)/tests/plain/%)
PROG_BIN := $(PROG:%=$(BUILD)/tests/%)
PLUG_BIN := $(PLUG:%=$(BUILD)/tests/%.so)
FUZZ_BIN := $(foreach v,fuzz replay,$(FUZZ:%=$(BUILD)/tests/fuzz/$(v)_%))

.PHONY: all lib debug sanitize benches bench goals check check-vm check-long check-programs
.PHONY: check-run check-hostile demo broker soak
.PHONY: bench-instr micro tidy fastpath mutants format extras install uninstall clean help FORCE

all: lib $(TOOL_BIN) benches
lib: $(LIBS)
debug: $(DEBUG_OBJ) $(DEBUG_LIBS)
sanitize: $(ASAN_LIB) $(TSAN_LIB)
benches: $(BENCH_BIN)

# The stamp changes when a flag or the list of sources does.
stamp := $(subst ','\'',$(CC) $(CXX) $(CFLAGS) $(LDFLAGS) $(C_LIB) $(C_DEBUG) $(C_ASAN) \
    $(C_TSAN) $(FUZZ_CC) $(C_FUZZ) $(C_TEST) $(LD_SO) $(BOX) $(TOOL) $(BROKER))
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(stamp)' | cmp -s - $@ || printf '%s\n' '$(stamp)' >$@
FORCE:

# ---- the library -------------------------------------------------------------

$(BUILD)/obj/%.o: core/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_LIB) $(CFLAGS) -MMD -MP -c -o $@ $<

$(SO): $(BUILD)/obj/unity_override.o core/tidepool.map core/replaceable.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(LD_SO) $(CFLAGS) $(LDFLAGS) -o $@ $<

# Programs linked with -L$(BUILD) -ltidepool look for this name.
$(BUILD)/$(SONAME): $(SO)
	$(Q)ln -sf $(<F) $@

archive = $(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(BUILD)/libtidepool.a: $(BUILD)/obj/unity_override.o
	$(call say,AR,$@)
	$(archive)
$(BUILD)/libtidepool_api.a: $(BUILD)/obj/unity.o
	$(call say,AR,$@)
	$(archive)

# One object per box file, in three variants.
define variant
$(BUILD)/$(1)/obj/%.o: core/box/%.c $(BUILD)/flags
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$($(2)) -MMD -MP -c -o $$@ $$<
endef
$(eval $(call variant,debug,C_DEBUG))
$(eval $(call variant,asan,C_ASAN))
$(eval $(call variant,tsan,C_TSAN))

$(BUILD)/fuzz/obj/%.o: core/box/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(C_FUZZ) -MMD -MP -c -o $@ $<

$(BUILD)/libtidepool_dbg.so: $(DEBUG_OBJ) core/tidepool.map core/replaceable.map $(BUILD)/flags
	$(call say,LINK,$@)
	$(Q)$(CC) $(LD_SO) -g $(LDFLAGS) -o $@ $(filter %.o,$^)
$(BUILD)/libtidepool_dbg.a: $(DEBUG_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	$(archive)
$(BUILD)/libtidepool_api_dbg.a: $(filter-out %/override.o,$(DEBUG_OBJ)) $(BUILD)/flags
	$(call say,AR,$@)
	$(archive)
$(ASAN_LIB): $(ASAN_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	$(archive)
$(TSAN_LIB): $(TSAN_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	$(archive)
$(FUZZ_LIB): $(FUZZ_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	$(archive)

# ---- the command and the benches ---------------------------------------------
# A bench never links the library: it measures whatever malloc it is given. That of the log
# links the functions, and no malloc.

$(BUILD)/obj/tidepool/%.o: tools/tidepool/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_BASE) -Icore $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tidepool: $(TOOL:%=$(BUILD)/obj/tidepool/%.o) $(BUILD)/libtidepool_api.a
	$(call say,LINK,$@)
	$(Q)$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $^

# Preloaded in place of the library where not every process is to be served. No malloc in it.
$(FOLLOW): tools/follow/follow.c $(BUILD)/flags
	$(call say,LINK,$@)
	$(Q)$(CC) $(C_BASE) $(CFLAGS) -fPIC -fvisibility=hidden -shared -Wl,-soname,$(@F) \
	    -Wl,-z,now,-z,relro,-z,noexecstack $(LDFLAGS) -o $@ $<

# Wants libuv, of which only the static form is taken. With the library's malloc in it.
$(BUILD)/obj/broker/%.o: tools/tidepool-broker/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_BASE) -D_GNU_SOURCE $(CFLAGS) -MMD -MP -c -o $@ $<

$(BROKER_BIN): $(BROKER:%=$(BUILD)/obj/broker/%.o) $(BUILD)/libtidepool.a
	$(call say,LINK,$@)
	$(Q)$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $^ -l:libuv_a.a -ldl -lrt

# The same under ASan and UBSan, with the sanitizer's malloc.
$(BROKER_ASAN): $(BROKER:%=tools/tidepool-broker/%.c) $(ASAN_LIB) \
    $(wildcard tools/tidepool-broker/*.h) $(BUILD)/flags
	$(call say,CC,$@)
	$(Q)$(CC) $(C_BASE) -D_GNU_SOURCE -g $(ASAN_ON) -pthread $(LDFLAGS) -o $@ \
	    $(filter %.c %.a,$^) -l:libuv_a.a -ldl -lrt

$(BUILD)/bench/%: bench/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_BASE) $(NO_BUILTIN) $(CFLAGS) -MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< \
	    $(filter %.a,$^) -lpthread
$(BUILD)/bench/bench_log $(BUILD)/bench/recover: $(BUILD)/libtidepool_api.a

# Benches through Google Benchmark, in C behind a shim. micro_box measures the boxes.
$(BUILD)/bench/micro/%.o: bench/micro/%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_BASE) -D_GNU_SOURCE -Icore $(NO_BUILTIN) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/bench/micro/micro_shim.o: bench/micro/micro_shim.cc $(BUILD)/flags
	$(call say,CXX,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=gnu++17 $(WARN) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/bench/micro/micro_box: $(BUILD)/libtidepool_api.a
$(MICRO_BIN): $(BUILD)/bench/micro/%: $(BUILD)/bench/micro/%.o $(BUILD)/bench/micro/micro_shim.o
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) -lbenchmark -lpthread

# ---- tests -------------------------------------------------------------------
# Programs are built without optimisation, so that the compiler removes no
# allocation that a test wants to see.

define test_variant
$(BUILD)/tests/$(1)/test_%: tests/test_%.c $(3) $(BUILD)/flags
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(C_TEST) $(2) $$(CHECK_CFLAGS) -MMD -MP -MF $$@.d -o $$@ $$< $(3) $$(LDFLAGS) \
	    $$(CHECK_LIBS)
endef
define stress_variant
$(BUILD)/tests/$(1)/stress_%: tests/stress_%.c $(3) $(BUILD)/flags
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(C_TEST) $(2) -MMD -MP -MF $$@.d -o $$@ $$< $(3) $$(LDFLAGS)
endef
ASAN_ON := -O1 -DTIDE_DEBUG=1 $(SANITIZE)
TSAN_ON := -O1 -DTIDE_DEBUG=1 -fsanitize=thread
$(eval $(call test_variant,debug,-O1 -DTIDE_DEBUG=1,$(BUILD)/libtidepool_api_dbg.a))
$(eval $(call test_variant,asan,$(ASAN_ON),$(ASAN_LIB)))
$(eval $(call test_variant,tsan,$(TSAN_ON),$(TSAN_LIB)))
$(eval $(call stress_variant,release,-O2,$(BUILD)/libtidepool_api.a))
$(eval $(call stress_variant,plain,-O2 -DSTRESS_PLAIN,))
$(eval $(call stress_variant,asan,$(ASAN_ON),$(ASAN_LIB)))
$(eval $(call stress_variant,tsan,$(TSAN_ON),$(TSAN_LIB)))

CXX_TEST := -std=gnu++17 $(WARN) -Iinclude -g -pthread -Wno-unknown-warning-option \
    -Wno-use-after-free -Wno-free-nonheap-object
$(BUILD)/tests/prog_%: tests/prog_%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)
# The command, with the moments at which a test kills it.
$(BUILD)/tests/prog_logdies: tests/prog_logdies.c $(TOOL:%=$(BUILD)/obj/tidepool/%.o) \
    $(BUILD)/libtidepool_api_dbg.a $(BUILD)/flags
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST) -DTIDE_DEBUG=1 -Icore -MMD -MP -MF $@.d -o $@ \
	    $(filter %.c %.o %.a,$^) $(LDFLAGS)
$(BUILD)/tests/prog_%: tests/prog_%.cc $(BUILD)/flags
	$(call say,CXX,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXX_TEST) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)
$(BUILD)/tests/plug_%.so: tests/plug_%.c $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST) -fPIC -shared -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)
$(BUILD)/tests/plug_%.so: tests/plug_%.cc $(BUILD)/flags
	$(call say,CXX,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXX_TEST) -fPIC -shared -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)

$(BUILD)/tests/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_LIB) $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(C_TEST) $(ASAN_ON) -fsanitize=fuzzer -MMD -MP -MF $@.d -o $@ $< $(FUZZ_LIB)
$(BUILD)/tests/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz_main.c $(ASAN_LIB) \
    $(wildcard tests/fuzz/*.h) $(BUILD)/flags
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST) $(ASAN_ON) -o $@ $(filter %.c,$^) $(ASAN_LIB)

check-programs: all debug $(TEST_BIN) $(TEST_ASAN_BIN) $(TEST_TSAN_BIN) $(STRESS_BIN) \
    $(PROG_BIN) $(PLUG_BIN) $(FUZZ_BIN) $(MICRO_BIN) $(BROKER_BIN) \
    $(BROKER_ASAN)
	@for f in $(STRAY); do \
	    echo "$$f: nothing runs it; name it test_, stress_, prog_ or plug_" >&2; exit 1; \
	done

section_of = $(firstword $(subst _, ,$(basename $(notdir $(1)))))
# Sections that want the machine to themselves: they change settings of the kernel.
ALONE := limits
sections := $(sort $(foreach s,$(SCRIPT),$(call section_of,$(s))))
scripts_in = $(foreach s,$(SCRIPT),$(if $(filter $(1),$(call section_of,$(s))),$(s)))
stress_in = $(patsubst %,"$(BUILD)/tests/$(1)/% $(STRESS_OPS)",\
    $(if $(filter tsan,$(1)),$(STRESS_TSAN),$(STRESS)))
stress_preload = \
    $(STRESS_PLAIN:%="env LD_PRELOAD=$(abspath $(SO)) $(BUILD)/tests/plain/% $(STRESS_OPS)")

check-run:
	@tests/run \
	    -s house "tools/layers.sh --self-test" "tools/tidy.sh --self-test" \
	        "tools/fastpath.sh --self-test" "tools/fastpath.sh $(SO)" \
	    -s unit $(TEST_BIN) \
	    $(if $(TEST),-s unit-asan $(TEST_ASAN_BIN)) \
	    $(if $(TSAN_TEST),-s unit-tsan $(TEST_TSAN_BIN)) \
	    $(if $(STRESS),-s stress $(call stress_in,release) -s stress-preload $(stress_preload) \
	        -s stress-asan $(call stress_in,asan) -s stress-tsan $(call stress_in,tsan)) \
	    $(foreach s,$(sections),$(if $(filter $(s),$(ALONE)),-x,-s) $(s) $(call scripts_in,$(s)))

check:
	@tools/deps.sh check
	@+$(MAKE) --no-print-directory check-programs
	@+$(MAKE) --no-print-directory check-run

# The guests alone: they are part of `check`, too.
check-vm: all debug broker $(patsubst %,$(BUILD)/tests/debug/test_%,source numa topo \
    residency region region_heap regions source_file store share)
	@tests/run -s vm $(filter tests/vm_%,$(SCRIPT))

# Uses up the time it is given, with other seeds each time.
check-long: MINUTES ?= 480
check-long:
	@tools/deps.sh check
	@+$(MAKE) --no-print-directory check-programs
	@tests/long/run $(MINUTES)

# Logs in hostile memory, COUNT times; what was counted of the same build before is not done again.
check-hostile: COUNT ?= 1000000
check-hostile:
	@tools/deps.sh check
	@+$(MAKE) --no-print-directory $(BUILD)/tests/fuzz/fuzz_hostile \
	    $(BUILD)/tests/fuzz/replay_hostile
	@tests/long/hostile $(COUNT)

# Kills and outages of logs and of the broker, for an hour or SECONDS; other moments each time.
soak: SECONDS ?= 3600
soak:
	@tools/deps.sh check
	@+$(MAKE) --no-print-directory all $(BROKER_BIN) $(BUILD)/tests/release/stress_killed \
	    $(BUILD)/tests/release/stress_crew $(BUILD)/tests/release/stress_hosts \
	    $(BUILD)/tests/debug/test_crash
	@tests/long/soak $(SECONDS)

tidy: $(SO) $(BUILD)/libtidepool_api.a $(DEBUG_OBJ)
	@tools/tidy.sh

fastpath: $(SO)
	@tools/fastpath.sh $(SO)

# Breaks the library in every way of tests/mutants and demands that a test notices.
# `check` does so with a sample.
mutants: lib $(PROG_BIN) $(PLUG_BIN)
	@tests/mutants.sh --all

# Rewrites the C files into the style that tidy demands.
format:
	@tools/tidy.sh --format

# A selection under all allocators, about BENCH_SECONDS (300): $(BUILD)/bench/report. What
# cannot be installed is named in the page.
bench: all
	@tools/deps.sh bench || echo 'going on without what is missing'
	@bench/report

# Instructions for a pair of malloc and free, by tier: callgrind counts, nothing is timed.
bench-instr: lib benches
	@tools/deps.sh instr || echo 'going on without what is missing'
	@bench/instr

# Every goal of the library against the other allocators, about 8 minutes. ROWS, a pattern, takes
# only some rows.
goals: lib benches
	@tools/deps.sh instr || echo 'going on without what is missing'
	@bench/goals $(if $(ROWS),--rows '$(ROWS)') --csv $(BUILD)/bench/goals.csv

demo:
	@tools/deps.sh demo
	@+$(MAKE) --no-print-directory all
	@tools/demo.sh

broker: lib
	@tools/deps.sh missing broker
	@+$(MAKE) --no-print-directory $(BROKER_BIN)

# What needs more than gcc and make. Installs nothing: names every package that the
# machine lacks and stops, or builds all test programs, the broker and the benches of single
# calls.
extras: all
	@tools/deps.sh missing check peers extras
	@+$(MAKE) --no-print-directory check-programs micro

micro: lib
	@tools/deps.sh missing extras
	@+$(MAKE) --no-print-directory $(MICRO_BIN)

# ---- install -----------------------------------------------------------------

REAL := $(SONAME).$(shell echo $(VERSION) | cut -d. -f2-)
D_BIN := $(DESTDIR)$(BINDIR)
D_LIB := $(DESTDIR)$(LIBDIR)
D_INC := $(DESTDIR)$(INCLUDEDIR)
D_DOC := $(DESTDIR)$(PREFIX)/share/doc/tidepool
# Under DESTDIR somebody else installs later: only a real install tells the loader.
loader_cache = $(if $(DESTDIR),,PATH="$$PATH:/sbin:/usr/sbin" ldconfig 2>/dev/null || \
    echo "ldconfig did not run: programs may need LD_LIBRARY_PATH=$(LIBDIR)")

install: all
	install -d "$(D_LIB)/pkgconfig" "$(D_INC)/tidepool" $(if $(TOOL),"$(D_BIN)")
	install -m 644 $(HEADERS) "$(D_INC)/tidepool"
	install -m 755 $(SO) "$(D_LIB)/$(REAL)"
	ln -sf $(REAL) "$(D_LIB)/$(SONAME)"
	ln -sf $(SONAME) "$(D_LIB)/libtidepool.so"
	install -m 644 $(BUILD)/libtidepool.a $(BUILD)/libtidepool_api.a "$(D_LIB)"
	$(if $(TOOL),install -m 755 $(BUILD)/tidepool "$(D_BIN)")
	$(if $(TOOL),install -m 755 $(FOLLOW) "$(D_LIB)")
	install -d "$(D_DOC)"
	install -m 644 tools/tidepool/JSON.md "$(D_DOC)"
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' core/tidepool.pc.in >"$(D_LIB)/pkgconfig/tidepool.pc"
	@$(loader_cache)

uninstall:
	rm -f $(foreach h,$(notdir $(HEADERS)),"$(D_INC)/tidepool/$(h)")
	rm -f "$(D_LIB)/$(REAL)" "$(D_LIB)/$(SONAME)" "$(D_LIB)/libtidepool.so"
	rm -f "$(D_LIB)/libtidepool_follow.so"
	rm -f "$(D_LIB)/libtidepool.a" "$(D_LIB)/libtidepool_api.a"
	rm -f "$(D_LIB)/pkgconfig/tidepool.pc" $(if $(TOOL),"$(D_BIN)/tidepool")
	rm -f "$(D_DOC)/JSON.md"
	if [ -d "$(D_DOC)" ]; then rmdir --ignore-fail-on-non-empty "$(D_DOC)"; fi
	if [ -d "$(D_INC)/tidepool" ]; then \
	    rmdir --ignore-fail-on-non-empty "$(D_INC)/tidepool"; \
	fi
	@$(loader_cache)

# Keeps $(BUILD)/deps: it is downloaded, not built.
clean:
	@if [ -e "$(BUILD)/flags" ]; then \
	    find "$(BUILD)" -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +; \
	    rmdir "$(BUILD)" 2>/dev/null || true; \
	fi

help:
	@echo 'make             the library (.so, .a), the command, the benches'
	@echo 'make lib         the library alone'
	@echo 'make debug       one object per box, with assertions: libtidepool*_dbg'
	@echo 'make check       all tests (installs what they need: tools/deps.sh check)'
	@echo 'make check-vm    the tests in guests with far memory alone'
	@echo 'make check-long  stress, fuzzers, mutants with other seeds: MINUTES=480'
	@echo 'make check-hostile  logs in hostile memory, fuzzed by count: COUNT=1000000'
	@echo 'make soak        logs and brokers that are killed, for an hour: SECONDS=3600'
	@echo 'make benches     the benches alone'
	@echo 'make bench       5 minutes of benches: a page in $(BUILD)/bench/report'
	@echo 'make bench-instr instructions for malloc + free, counted by callgrind'
	@echo 'make goals       speed, memory and instructions against their goals: ROWS=pattern'
	@echo 'make demo        compiles a real source package under the library'
	@echo 'make tidy        the rules of the house: layers, sizes, style, symbols'
	@echo 'make mutants     breaks the library line by line: do the tests notice?'
	@echo 'make fastpath    what malloc and free cost on their straight paths'
	@echo 'make format      rewrites the sources in the style of the house'
	@echo 'make broker      a server of Redis Streams over a log: $(BUILD)/tidepool-broker'
	@echo 'make micro       benches of single calls in $(BUILD)/bench/micro (Google Benchmark)'
	@echo 'make extras      these, the broker (tidepool-broker) and the test programs; names the'
	@echo '                 packages that they lack'
	@echo 'make install     PREFIX=/usr/local LIBDIR= DESTDIR='
	@echo 'make uninstall   removes what install put'
	@echo 'make clean       removes $(BUILD), but keeps downloads in $(BUILD)/deps'
	@echo 'Settings: CC CXX CFLAGS LDFLAGS BUILD=dir WERROR=1 V=1'

-include $(BUILD)/obj/unity.d $(BUILD)/obj/unity_override.d
-include $(TOOL:%=$(BUILD)/obj/tidepool/%.d) $(BROKER:%=$(BUILD)/obj/broker/%.d)
-include $(BENCH:%=$(BUILD)/bench/%.d)
-include $(MICRO_BIN:=.d) $(BUILD)/bench/micro/micro_shim.d
-include $(DEBUG_OBJ:.o=.d) $(ASAN_OBJ:.o=.d) $(TSAN_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d)
-include $(wildcard $(BUILD)/tests/*.d $(BUILD)/tests/*/*.d)
