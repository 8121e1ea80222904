# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: spec/fuzz/NAME.c with LLVMFuzzerTestOneInput() is the target NAME, its corpus is spec/fixtures/fuzz/NAME.
# All of the code is compiled anew, by clang, with its sanitizers and libFuzzer's counters.
FUZZ_BUILD := build/fuzz
FUZZ_CC := clang
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(patsubst spec/fuzz/%.c,%,$(sort $(shell grep -l '^int LLVMFuzzerTestOneInput' spec/fuzz/*.c)))
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_CFLAGS := -O1 -g -std=c11 $(WARNINGS) $(FUZZ_SAN) -fsanitize=fuzzer-no-link -DMNCNI_VERSION=\"$(VERSION)\"
FUZZ_SHARED := fuzz kernel cni_call
FUZZ_OBJ := $(patsubst %.c,$(FUZZ_BUILD)/obj/%.o,$(CORE_SRC) core/http_protobuf.c $(FUZZ_SHARED:%=spec/fuzz/%.c))
FUZZ_LIB := $(FUZZ_BUILD)/libmncni.a
FUZZ_BIN := $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/bin/%)

# What a target puts in the place of the kernel or of other programs.
FUZZ_KERNEL := recvmsg poll nanosleep mnl_socket_sendto
FUZZ_WRAP_cni := $(FUZZ_KERNEL) mn_exec
FUZZ_WRAP_arguments := $(FUZZ_KERNEL) mn_exec
FUZZ_WRAP_journal := $(FUZZ_KERNEL) mn_exec mn_sysctl_set
FUZZ_WRAP_netlink_reply := $(FUZZ_KERNEL)

$(FUZZ_BUILD)/obj/%.o: %.c
	$(call say,FUZZCC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) $(DEPS_CFLAGS) -Icore -MMD -MP -c -o $@ $<

$(FUZZ_BUILD)/obj/embed.o: $(BUILD)/embed.c
	$(call say,FUZZCC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -O1 $(DEPS_CFLAGS) -Icore -c -o $@ $<

$(FUZZ_LIB): $(FUZZ_OBJ) $(FUZZ_BUILD)/obj/embed.o
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(FUZZ_BUILD)/bin/%: $(FUZZ_BUILD)/obj/spec/fuzz/%.o $(FUZZ_LIB)
	$(call say,FUZZLD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer $(FUZZ_WRAP_$*:%=-Wl,--wrap=%) -o $@ $^ $(DEPS_LIBS)

.SECONDARY: $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/obj/spec/fuzz/%.o)

# Each target for FUZZ_SECONDS; what is found and not yet fixed ends it with a failure.
check-fuzz: deps-fuzz
	+$(Q)$(MAKE) --no-print-directory -j$$(nproc) $(FUZZ_BIN)
	$(Q)FUZZ_SECONDS="$(FUZZ_SECONDS)" FUZZ_BUILD="$(FUZZ_BUILD)" spec/support/ring fuzz run $(FUZZ_TARGETS)

# Every input of the corpus once.
check-fuzz-corpus: deps-fuzz
	+$(Q)$(MAKE) --no-print-directory -j$$(nproc) $(FUZZ_BIN)
	$(Q)FUZZ_BUILD="$(FUZZ_BUILD)" spec/support/ring fuzz replay $(FUZZ_TARGETS)

# The fewest inputs, of the corpus and of what check-fuzz found, that cover the same, into FUZZ_BUILD/merged.
fuzz-merge: deps-fuzz
	+$(Q)$(MAKE) --no-print-directory -j$$(nproc) $(FUZZ_BIN)
	$(Q)FUZZ_BUILD="$(FUZZ_BUILD)" spec/support/ring fuzz merge $(FUZZ_TARGETS)

deps-fuzz: deps-build
	$(call need,$(FUZZ_PACKAGES))
.PHONY: check-fuzz check-fuzz-corpus fuzz-merge deps-fuzz

-include $(FUZZ_OBJ:.o=.d) $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/obj/spec/fuzz/%.d)
