# SPDX-License-Identifier: Apache-2.0
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
CNI_BIN_DIR ?= /opt/cni/bin
PKG_CONFIG ?= pkg-config
LUA ?= lua5.4
VERSION := 0.1.0

ifeq ($(SAN),1)
BUILD ?= build/san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(COVERAGE),1)
BUILD ?= build/coverage
SANFLAGS := --coverage
else
BUILD ?= build
endif

# Packages of Debian 12: to build, and to test.
BUILD_PACKAGES := gcc make pkg-config lua5.4 liblua5.4-dev libmnl-dev libcjson-dev libcurl4-openssl-dev \
	libmicrohttpd-dev libnftables-dev libedit-dev
LINT_PACKAGES := clang-format clang-tidy cppcheck lua-check shellcheck
TEST_PACKAGES := lua-busted openssl python3 iproute2 nftables iptables conntrack iputils-ping util-linux procps strace jq \
	busybox-static containernetworking-plugins valgrind luarocks tmux
CONTAINERD_PACKAGES := containerd runc podman python3-grpcio python3-grpc-tools python3-protobuf curl
FUZZ_PACKAGES := clang libclang-rt-14-dev
LAB_PACKAGES := etcd-server containerd runc iproute2 iptables nftables conntrack util-linux procps iputils-ping curl openssl \
	busybox-static containernetworking-plugins
KUBERNETES_PACKAGES := lua-busted python3 $(LAB_PACKAGES)
VM_PACKAGES := lua-busted iproute2 nftables iptables iputils-ping util-linux busybox-static containernetworking-plugins qemu-system-x86 kmod \
	tcpdump tshark
BENCH_PACKAGES := containernetworking-plugins iproute2 iptables nftables strace util-linux gnuplot-nox
DEB_PACKAGES := debhelper dpkg-dev fakeroot lintian
DEMO_PACKAGES := containerd runc iproute2 nftables iputils-ping util-linux busybox-static

PACKAGES = lua5.4 libmnl libcjson
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Werror
CFLAGS ?= -O2 -g
# Where the tree lies does not change what comes out.
override CFLAGS += -std=c11 -fPIC -fvisibility=hidden $(WARNINGS) $(SANFLAGS) -DMNCNI_VERSION=\"$(VERSION)\" \
	-ffile-prefix-map=$(CURDIR)=.
# Asked only when something is compiled: a fresh machine gets its packages from a target of this file.
DEPS_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
DEPS_LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES))
MODULE_LIBS = $(shell $(PKG_CONFIG) --libs libmnl libcjson)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' "$(1)" "$(2)")

# HTTP is for the agent and for a stock lua5.4: neither the library nor the plugin has it.
HTTP_SRC := $(sort $(wildcard core/http*.c core/lua_http*.c))
HTTP_OBJ := $(HTTP_SRC:%.c=$(BUILD)/obj/%.o)
HTTPD_OBJ := $(filter %/httpd.o %/lua_httpd.o,$(HTTP_OBJ))
HTTP_LIBS = $(shell $(PKG_CONFIG) --libs libcurl libmicrohttpd)
# nft's language is for a stock lua5.4 alone, where its library is.
NFT_SRC := core/nftables.c core/lua_nftables.c
NFT_OBJ := $(NFT_SRC:%.c=$(BUILD)/obj/%.o)
HAS_NFT := $(shell $(PKG_CONFIG) --exists libnftables 2>/dev/null && echo yes)
# What only `mncni trace` reads with: the plugin's binary has it for the command line, and nothing else does.
TRACE_SRC := $(sort $(wildcard core/trace*.c)) core/lua_trace.c
TRACE_OBJ := $(TRACE_SRC:%.c=$(BUILD)/obj/%.o)
CORE_SRC := $(filter-out $(HTTP_SRC) $(NFT_SRC) $(TRACE_SRC),$(sort $(wildcard core/*.c)))
CORE_OBJ := $(CORE_SRC:%.c=$(BUILD)/obj/%.o)
# The bounded state is for programs that embed Lua; a stock lua5.4 brings its own.
MODULE_OBJ := $(filter-out $(addprefix $(BUILD)/obj/core/,state.o snapshot.o snapshot_warm.o heap.o lua_state.o call.o report.o),$(CORE_OBJ))
LUA_SRC := $(sort $(wildcard lua/mncni/*.lua lua/mncni/verb/*.lua lua/mncni/cmd/*.lua))
POLICIES := $(sort $(wildcard policies/*.lua))
# Those that are plugins; the others are the agent's.
CNI_NAMES := $(patsubst policies/%.lua,%,$(shell grep -l -e '^function policy[.]add\>' -e '^function policy[.]lease\>' $(POLICIES)))
EMBED_OBJ := $(BUILD)/obj/embed.o

LUA_MODULE := $(BUILD)/lib/lua/5.4/mncni/core.so
# What a module shares with the core it brings along: the core keeps its own names to itself.
HTTP_SHARED := $(addprefix $(BUILD)/obj/core/,error.o lua_args.o lua_error.o nearest.o)
HTTP_MODULES := $(BUILD)/lib/lua/5.4/mncni/http.so $(BUILD)/lib/lua/5.4/mncni/httpd.so
TRACE_SHARED := $(HTTP_SHARED) $(addprefix $(BUILD)/obj/core/,nl.o netns.o)
TRACE_MODULE := $(BUILD)/lib/lua/5.4/mncni/trace_core.so
NFT_MODULE := $(if $(HAS_NFT),$(BUILD)/lib/lua/5.4/mncni/nft.so)
LIB_STATIC := $(BUILD)/lib/libmncni.a
LIB_SHARED := $(BUILD)/lib/libmncni.so
PKG_CONFIG_FILE := $(BUILD)/lib/pkgconfig/mncni.pc
SPEC_TOOLS := $(patsubst spec/support/%.c,$(BUILD)/spec/%,$(sort $(wildcard spec/support/*.c))) \
	$(BUILD)/spec/embed-static $(BUILD)/spec/embed-shared
PLUGIN := $(BUILD)/bin/mncni
AGENT := $(BUILD)/bin/mncni-agent

# What a command has left half made is not taken for done.
.DELETE_ON_ERROR:

all: $(LUA_MODULE) $(HTTP_MODULES) $(NFT_MODULE) $(TRACE_MODULE) $(LIB_STATIC) $(LIB_SHARED) $(PKG_CONFIG_FILE) $(PLUGIN) $(AGENT) spec-tools

# Small programs that the specs run.
spec-tools: $(SPEC_TOOLS)

$(BUILD)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPS_CFLAGS) -Icore -MMD -MP -c -o $@ $<

# The vocabulary and the policies, compiled to Lua bytecode and carried inside the binary.
$(BUILD)/embed.c: core/embed.lua $(LUA_SRC) $(POLICIES)
	$(call say,EMBED,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LUA) core/embed.lua $@ $(if $(COVERAGE),lines,size) $(LUA_SRC) $(POLICIES)

# The same for a program that is started once and runs for months.
$(BUILD)/embed-lines.c: core/embed.lua $(LUA_SRC) $(POLICIES)
	$(call say,EMBED,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LUA) core/embed.lua $@ lines $(LUA_SRC) $(POLICIES)

$(EMBED_OBJ) $(BUILD)/obj/embed-lines.o: $(BUILD)/obj/%.o: $(BUILD)/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPS_CFLAGS) -Icore -c -o $@ $<

$(LUA_MODULE): $(MODULE_OBJ)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(MODULE_LIBS)

# It stays loaded when its state ends: a thread of libcurl may still be looking up a name.
$(BUILD)/lib/lua/5.4/mncni/http.so: $(filter-out $(HTTPD_OBJ),$(HTTP_OBJ)) $(HTTP_SHARED) \
		$(BUILD)/obj/core/pick.o $(BUILD)/obj/core/pick_tree.o
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^ $(shell $(PKG_CONFIG) --libs libcurl)

$(BUILD)/lib/lua/5.4/mncni/httpd.so: $(HTTPD_OBJ) $(HTTP_SHARED)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(shell $(PKG_CONFIG) --libs libmicrohttpd)

$(BUILD)/lib/lua/5.4/mncni/nft.so: $(NFT_OBJ) $(HTTP_SHARED)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(shell $(PKG_CONFIG) --libs libnftables)

$(TRACE_MODULE): $(TRACE_OBJ) $(TRACE_SHARED)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(shell $(PKG_CONFIG) --libs libmnl)

$(LIB_STATIC): $(CORE_OBJ) $(EMBED_OBJ)
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Its public symbols are what core/libmncni.map lists.
$(LIB_SHARED): $(CORE_OBJ) $(EMBED_OBJ) core/libmncni.map
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libmncni.so.0 -Wl,--version-script=core/libmncni.map \
		-o $@ $(filter %.o,$^) $(DEPS_LIBS)
	$(Q)ln -sf libmncni.so $@.0

# A tree that was installed elsewhere (DESTDIR) is found by another prefix.
FILL_IN = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@VERSION@|$(VERSION)|'

$(PKG_CONFIG_FILE): core/mncni.pc.in Makefile
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(FILL_IN) $< >$@

$(BUILD)/spec/%: spec/support/%.c $(LIB_STATIC)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPS_CFLAGS) -Icore -I$(BUILD)/spec $(LDFLAGS) -o $@ $< $(LIB_STATIC) $(DEPS_LIBS)

# The names of system calls, by number, as the headers have them.
$(BUILD)/spec/syscalls.h: Makefile
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)echo '#include <sys/syscall.h>' | $(CC) $(CPPFLAGS) -E -dM - \
		| sed -n 's/^#define \(SYS_\([a-z0-9_]*\)\) .*/[\1] = "\2",/p' >$@
$(BUILD)/spec/inject $(BUILD)/lint/spec/support/inject.tidy: $(BUILD)/spec/syscalls.h

$(BUILD)/spec/embed-static: examples/embed/hook.c $(LIB_STATIC)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Icore $(LDFLAGS) -o $@ $< $(LIB_STATIC) $(DEPS_LIBS)

$(BUILD)/spec/embed-shared: examples/embed/hook.c $(LIB_SHARED)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Icore $(LDFLAGS) -o $@ $< -L$(BUILD)/lib -lmncni -Wl,-rpath,'$$ORIGIN/../lib'

# A program with its Lua state in it, as it is once the modules of every call are loaded (core/snapshot.c); what has
# AddressSanitizer in it goes without.
ifeq ($(SANFLAGS),)
define with_snapshot
	$(Q)$(1) --snapshot $(2).image
	$(Q)objcopy --update-section .mncni_image=$(2).image $(1) $(2)
	$(Q)rm -f $(1) $(2).image
endef
else
with_snapshot = $(Q)mv $(1) $(2)
endif

ifeq ($(COVERAGE),1)
RAN_OBJ := $(BUILD)/coverage-lines.o
RAN_MODULE := $(BUILD)/lib/lua/5.4/coverage.so
RAN_WRAP := -Wl,--wrap=lua_newstate,--wrap=lua_sethook

$(RAN_OBJ) $(RAN_MODULE): spec/support/coverage/lines.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -fPIC $(DEPS_CFLAGS) -fvisibility=hidden -DRAN=\"$(CURDIR)/$(BUILD)/ran\" \
		$(if $(filter %.so,$@),-shared,-DWRAPPED -c) -o $@ $<
all: $(RAN_MODULE)
endif

# Started for every pod: without a loader, and at a fixed address.
HOST_OBJ := $(BUILD)/obj/plugin/mncni.o $(BUILD)/obj/plugin/lua_line.o $(TRACE_OBJ)
DYNAMIC_LIBS = -l:liblua5.4.a -ledit $(MODULE_LIBS) -lm -ldl
comma := ,
WRAPPED := _dl_get_origin dlopen dlerror setpwent endpwent getpwent getpwuid getpwnam_r getpwuid_r
ifeq ($(SANFLAGS),)
PLUGIN_OBJ := $(HOST_OBJ) $(BUILD)/obj/plugin/no_loader.o $(BUILD)/static/libmnl.o $(BUILD)/static/libcjson.o
PLUGIN_LIBS = -static $(addprefix -Wl$(comma)--wrap=,$(WRAPPED)) -l:liblua5.4.a -ledit -ltinfo -lbsd -lmd -lm $(addprefix @,$(patsubst %.o,%.ld,$(filter $(BUILD)/static/%,$(PLUGIN_OBJ))))
else
PLUGIN_OBJ := $(HOST_OBJ)
PLUGIN_LIBS = $(DYNAMIC_LIBS)
endif
# Code and constants begin where a huge page can, in the file as in memory, and are one mapping: where the kernel keeps the
# file in huge pages (core/huge.c), a call has one page fault for all of them.
STATIC_PROGRAM := -no-pie -Wl,-Ttext-segment=0x400000 -Wl,-z,noseparate-code

# Debian has them as shared libraries only. They lie behind the program, within reach of the page table of its data.
$(BUILD)/static/libmnl.s: STATIC_AT := 0x7e0000
$(BUILD)/static/libcjson.s: STATIC_AT := 0x7f0000
$(BUILD)/static/%.s: plugin/static_library.lua Makefile
	$(call say,STATIC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LUA) $< "$$($(CC) -print-file-name=$(notdir $*).so)" $(STATIC_AT) $(BUILD)/static/$*

$(BUILD)/static/%.o: $(BUILD)/static/%.s
	$(Q)$(CC) -c -o $@ $<

$(BUILD)/bin/mncni: $(PLUGIN_OBJ) $(LIB_STATIC) $(RAN_OBJ)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC_PROGRAM) -Wl,-z,relro,-z,now -Wl,--wrap=time $(RAN_WRAP) -o $@.bare $^ $(PLUGIN_LIBS)
	$(call with_snapshot,$@.bare,$@)

$(AGENT): $(BUILD)/obj/plugin/agent.o $(BUILD)/obj/embed-lines.o $(HTTP_OBJ) $(LIB_STATIC) $(RAN_OBJ)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,-z,relro,-z,now $(RAN_WRAP) -o $@ $^ -l:liblua5.4.a $(MODULE_LIBS) $(HTTP_LIBS) -lm -ldl

# Installs what is missing of the packages given; does nothing, and needs no network, when all are there.
define need
	@missing=$$(for p in $(1); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q '^install ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "Installing" $$missing; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
			install $$missing; } >$(PACKAGES_LOG) 2>&1 || { tail -n 20 $(PACKAGES_LOG); exit 1; }; \
	fi
endef
PACKAGES_LOG := /tmp/mncni-packages.log

deps-build:
	$(call need,$(BUILD_PACKAGES))
deps-test: deps-build
	$(call need,$(LINT_PACKAGES) $(TEST_PACKAGES) $(FUZZ_PACKAGES) $(CONTAINERD_PACKAGES) $(VM_PACKAGES))
deps-kubernetes: deps-build
	$(call need,$(KUBERNETES_PACKAGES))
deps-lab:
	$(call need,$(LAB_PACKAGES))
deps-vm: deps-build
	$(call need,$(VM_PACKAGES))
deps-bench: deps-build
	$(call need,$(BENCH_PACKAGES))
deps-demo: deps-build
	$(call need,$(DEMO_PACKAGES))

RINGS := lint check-unit check-kernel check-vm check-fuzz-corpus check-faults-short \
	$(if $(filter 1,$(SAN)),,check-valgrind deb) check-containerd $(if $(filter 1,$(SAN)),,check-kubernetes-short)

# Set-up comes first and by itself: what follows is decided by what is installed.
test: deps-test
	+@$(MAKE) --no-print-directory all
	+@MAKE="$(MAKE)" sh spec/support/test-all $(RINGS)

demo:
	@MAKE="$(MAKE)" sh deploy/demo.sh

# A complete CNI bin directory: the binary, and a link for each policy that is a plugin.
CNI_PROGRAM = $(PLUGIN)
cni-bin: $(PLUGIN)
	@test -n "$(DIR)" || { echo "make cni-bin DIR=directory" >&2; exit 2; }
	$(Q)mkdir -p $(DIR)
	$(Q)install -m 755 $(CNI_PROGRAM) $(DIR)/.mncni.new
	$(Q)$(PLUGIN) warm $(DIR)/.mncni.new >/dev/null 2>&1 || true # not every kernel can
	$(Q)mv $(DIR)/.mncni.new $(DIR)/mncni
	$(Q)for name in $(CNI_NAMES); do ln -sfn mncni $(DIR)/$$name || exit 1; done

# The same for other nodes, of which it needs the kernel alone: without symbols, and with the copyrights of what is in it.
PORTABLE := $(BUILD)/portable

$(PORTABLE)/mncni: $(PLUGIN)
	$(if $(SANFLAGS),$(error a build with SAN=1 is not portable))
	$(Q)mkdir -p $(@D)
	$(Q)strip -o $@ $<

$(PORTABLE)/mncni.COPYRIGHT: $(PLUGIN) deploy/copyright.sh LICENSE
	$(Q)mkdir -p $(@D)
	$(Q)sh deploy/copyright.sh libc6-dev libmnl0 libcjson1 liblua5.4-dev libedit-dev libncurses-dev libbsd-dev libmd-dev >$@.new && mv $@.new $@

portable: $(PORTABLE)/mncni $(PORTABLE)/mncni.COPYRIGHT
	@test -n "$(DIR)" || { echo "make portable DIR=directory" >&2; exit 2; }
	$(Q)$(MAKE) --no-print-directory cni-bin DIR=$(DIR) CNI_PROGRAM=$(PORTABLE)/mncni
	$(Q)install -m 644 $(PORTABLE)/mncni.COPYRIGHT $(DIR)/mncni.COPYRIGHT
.PHONY: portable

# An archive of the image localhost/mncni:dev, for `ctr -n k8s.io images import`, podman load and the like. Neither an engine
# nor a registry is asked; the same files give the same digest.
image: deps-build $(BUILD)/image/mncni.tar
	@echo "$(BUILD)/image/mncni.tar is localhost/mncni:dev," \
		"$$(du -h $(BUILD)/image/mncni.tar | cut -f 1), unpacked $$(du -sh $(BUILD)/image/root | cut -f 1)"
.PHONY: image

$(BUILD)/image/mncni.tar: $(AGENT) $(PORTABLE)/mncni $(PORTABLE)/mncni.COPYRIGHT deploy/image.sh deploy/libraries.sh deploy/archive.sh LICENSE
	$(call say,IMAGE,$@)
	$(Q)rm -rf $(@D) && mkdir -p $(@D)
	$(Q)$(MAKE) --no-print-directory portable DIR=$(@D)/cni
	$(Q)sh deploy/image.sh $(AGENT) $(@D)/cni $(@D)/root $@.new && mv $@.new $@

# Real containerd, runc and podman, real containers, on a node in namespaces of its own.
check-containerd: $(if $(SANFLAGS),,$(BUILD)/image/mncni.tar)
check-containerd check-containerd-kill: all
	$(Q)rm -rf $(BUILD)/cni
	$(Q)$(MAKE) --no-print-directory cni-bin DIR=$(BUILD)/cni
	$(Q)LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="$(BUILD)/lib/lua/5.4/?.so;;" MNCNI_BUILD="$(BUILD)" \
		timeout $(if $(filter %-kill,$@),1800,600) sh deploy/private-containerd.sh --cni-bin $(BUILD)/cni --log $(BUILD)/containerd.log \
		--beside spec/support/beside busted --lua=lua5.4 $(or $(ARGS),$(CONTAINERD_SPECS))
check-containerd: CONTAINERD_SPECS := spec/containerd
# containerd itself killed, MNCNI_KILLS times; takes some minutes.
check-containerd-kill: CONTAINERD_SPECS := spec/containerd-kill
.PHONY: check-containerd check-containerd-kill

-include $(CORE_OBJ:.o=.d) $(HTTP_OBJ:.o=.d) $(NFT_OBJ:.o=.d) $(TRACE_OBJ:.o=.d) $(BUILD)/obj/plugin/mncni.d $(BUILD)/obj/plugin/lua_line.d $(BUILD)/obj/plugin/no_loader.d $(BUILD)/obj/plugin/agent.d

# The rings of specs; `make check-kernel ARGS=spec/kernel/x_spec.lua` runs a part of one. Of the faults, POINT=N looks at one
# point of what ARGS chooses, SEED=N repeats a sample, and SAMPLE=N takes that many points of every case.
SPEC_ENV = LUA="$(LUA)" MNCNI_BUILD="$(BUILD)" MNCNI_POINT="$(POINT)" MNCNI_SEED="$(SEED)" MNCNI_SAMPLE="$(SAMPLE)" \
	LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="$(BUILD)/lib/lua/5.4/?.so;;"
ifeq ($(SAN),1)
UNPRELOAD := $(BUILD)/spec/unpreload.so
SPEC_ENV += RING_PRELOAD="$(foreach lib,libasan.so libubsan.so,$(shell $(CC) -print-file-name=$(lib))) $(UNPRELOAD)"

$(UNPRELOAD): spec/support/san/unpreload.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -fPIC -shared -o $@ $<
endif

check-kernel: $(if $(SANFLAGS),,$(PORTABLE)/mncni)
check-unit check-kernel: check-%: all $(UNPRELOAD)
	$(Q)$(SPEC_ENV) spec/support/ring $* $(ARGS)
.PHONY: check-unit check-kernel

# The same in a small machine, emulated in software, whose kernel has what this one's may lack.
check-vm: deps-vm all $(UNPRELOAD)
	$(Q)$(SPEC_ENV) spec/support/vm $(ARGS)
.PHONY: check-vm

# Faults at every system call and every answer of the kernel; check-faults-short looks at a sample, another one each time.
FAULT_SPECS := $(wildcard spec/faults/*_spec.lua)
ifeq ($(SAN),1)
# A sanitizer's own runtime does not live through failing calls.
FAULT_SPECS := $(filter-out %/errno_spec.lua,$(FAULT_SPECS))
endif
check-faults check-faults-short: all $(UNPRELOAD)
	$(Q)$(SPEC_ENV) MNCNI_FAULTS="$(if $(filter check-faults,$@),full)" MNCNI_REFERENCE="$(REFERENCE)" \
		spec/support/ring faults $(or $(ARGS),$(FAULT_SPECS))
.PHONY: check-faults check-faults-short

# A Kubernetes cluster on this machine, its nodes without a CNI: deploy/lab/README.md.
lab-up: deps-lab
	$(Q)NODES="$(NODES)" LAYOUT="$(LAYOUT)" FAMILIES="$(FAMILIES)" deploy/lab/up
lab-down:
	$(Q)deploy/lab/down
lab-kubectl:
	$(Q)deploy/lab/kubectl $(ARGS)
.PHONY: deps-lab lab-up lab-down lab-kubectl

# A real Kubernetes, made once from Debian's source package: an API server with nodes as large as a cloud's, and whole
# clusters in labs. The short form is the way from an empty cluster to running pods, the manifests, and the agent.
KUBERNETES_SHORT := spec/kubernetes/manifests_spec.lua spec/kubernetes/journey_spec.lua spec/kubernetes/agent_spec.lua
check-kubernetes check-kubernetes-short: deps-kubernetes all image $(UNPRELOAD)
	$(Q)MNCNI_KUBERNETES=$$(deploy/lab/build) && export MNCNI_KUBERNETES && \
		$(SPEC_ENV) spec/support/ring kubernetes $(or $(ARGS),$(if $(filter %-short,$@),$(KUBERNETES_SHORT)))
.PHONY: check-kubernetes check-kubernetes-short

# Memory, as valgrind sees it, which cannot run what has sanitizers in it, nor knows malloc where that is linked statically.
check-valgrind: all $(BUILD)/valgrind/mncni
	$(if $(filter 1,$(SAN)),$(error check-valgrind is for a build without SAN=1))
	$(Q)$(SPEC_ENV) MNCNI_PLUGIN="$(BUILD)/valgrind/mncni" spec/support/ring valgrind $(ARGS)

$(BUILD)/valgrind/mncni: $(HOST_OBJ) $(LIB_STATIC)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -no-pie -Wl,--wrap=time -o $@.bare $^ $(DYNAMIC_LIBS)
	$(call with_snapshot,$@.bare,$@)
.PHONY: check-valgrind

# Everything that reads the code without running it. Each file that was found clean leaves a stamp.
LINT_C := $(CORE_SRC) $(TRACE_SRC) $(HTTP_SRC) $(if $(HAS_NFT),$(NFT_SRC)) $(wildcard plugin/*.c) $(wildcard spec/support/*.c spec/bench/*.c spec/fuzz/*.c) $(wildcard examples/embed/*.c)
LINT_H := $(wildcard core/*.h spec/fuzz/*.h)
SHELL_SCRIPTS := $(shell grep -lE '^\#!/bin/(ba)?sh' .ci/* .githooks/* deploy/* deploy/lab/* spec/support/* spec/bench/* spec/fuzz/* 2>/dev/null)
TIDY_STAMPS := $(LINT_C:%.c=$(BUILD)/lint/%.tidy)

$(BUILD)/lint/%.tidy: %.c $(LINT_H) .clang-tidy
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D)
	$(Q)clang-tidy --quiet $< -- -std=c11 -Icore -I$(BUILD)/spec $(DEPS_CFLAGS) -DMNCNI_VERSION=\"$(VERSION)\" \
		2>$@.log \
		|| { cat $@.log; exit 1; }
	$(Q)touch $@

lint:
	$(Q)clang-format --dry-run -Werror $(LINT_C) $(LINT_H)
	+$(Q)$(MAKE) --no-print-directory -j$$(nproc) $(TIDY_STAMPS)
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
		--suppress=missingIncludeSystem -j $$(nproc) -Icore $(LINT_C)
	$(Q)luacheck --quiet lua policies examples spec core plugin .luacheckrc
	$(Q)shellcheck -x $(SHELL_SCRIPTS)
.PHONY: lint

# Which lines of core, lua and policies the rings of specs run; slow. Specs fail in it that measure time, or that look at what
# a build for use is like: its system calls, its snapshot, what links with it.
coverage: deps-test
	+$(Q)$(MAKE) --no-print-directory COVERAGE=1 BUILD=build/coverage coverage-run
coverage-run: all
	$(Q)find $(BUILD) -name '*.gcda' -delete && rm -f $(BUILD)/ran && touch $(BUILD)/ran && chmod 666 $(BUILD)/ran
	-$(Q)$(RAN_ENV) $(SPEC_ENV) spec/support/ring unit
	-$(Q)$(RAN_ENV) $(SPEC_ENV) spec/support/ring kernel
	+$(Q)$(MAKE) --no-print-directory COVERAGE=1 BUILD=$(BUILD) coverage-report
coverage-report:
	$(Q)gcov -n $$(find $(BUILD)/obj/core -name '*.gcda') >$(BUILD)/gcov
	$(Q)$(LUA) spec/support/coverage/report.lua $(BUILD)/ran $(BUILD)/gcov
RAN_ENV = LUA_INIT="pcall(require, 'coverage')"
.PHONY: coverage coverage-run coverage-report

# What there is, for people: from the types, the codec's tables, the options of policies and of subcommands.
reference: $(LUA_MODULE)
	$(Q)$(SPEC_ENV) $(LUA) lua/reference.lua help >lua/functions.new && mv lua/functions.new lua/mncni/help_functions.lua
	$(Q)$(SPEC_ENV) $(LUA) lua/reference.lua >lua/reference.md.new && mv lua/reference.md.new lua/reference.md
.PHONY: reference

# Side by side with Debian's reference plugins and the bare requests, in one run; `make bench ARGS=--help` tells what can be
# chosen.
bench: deps-bench all $(BUILD)/bench/spawn $(BUILD)/bench/empty $(BUILD)/bench/floor
	$(Q)rm -rf $(BUILD)/bench/cni $(BUILD)/bench/small $(BUILD)/bench/portable
	$(Q)$(MAKE) --no-print-directory cni-bin DIR=$(BUILD)/bench/cni
	$(Q)cp -a $(BUILD)/bench/cni $(BUILD)/bench/small # into small pages, as a boot leaves it
	$(Q)$(MAKE) --no-print-directory portable DIR=$(BUILD)/bench/portable
	$(Q)$(SPEC_ENV) spec/support/ring bench $(ARGS)
.PHONY: bench

$(BUILD)/bench/spawn: spec/bench/spawn.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -static -o $@ $<

$(BUILD)/bench/empty:
	$(Q)mkdir -p $(@D)
	$(Q)echo 'int main(void) { return 0; }' | $(CC) -O2 -static -x c -o $@ -

$(BUILD)/static/floor/libmnl.s: STATIC_AT := 0x5f0000
$(BUILD)/bench/floor: spec/bench/floor.c $(BUILD)/static/floor/libmnl.o
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(shell $(PKG_CONFIG) --cflags libmnl) -static $(STATIC_PROGRAM) -o $@ $^ @$(BUILD)/static/floor/libmnl.ld

include spec/fuzz/rules.mk

install: all install-lua
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(PREFIX)/share/mncni/policies $(DESTDIR)$(PREFIX)/share/mncni/types \
		$(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 755 $(PLUGIN) $(AGENT) $(DESTDIR)$(PREFIX)/sbin/
	install -m 644 core/mncni.h $(DESTDIR)$(PREFIX)/include/mncni.h
	install -m 644 $(LIB_STATIC) $(DESTDIR)$(LIBDIR)/libmncni.a
	install -m 755 $(LIB_SHARED) $(DESTDIR)$(LIBDIR)/libmncni.so.0
	ln -sf libmncni.so.0 $(DESTDIR)$(LIBDIR)/libmncni.so
	$(FILL_IN) core/mncni.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/mncni.pc
	install -m 644 $(POLICIES) $(DESTDIR)$(PREFIX)/share/mncni/policies/
	install -m 644 lua/types/*.lua $(DESTDIR)$(PREFIX)/share/mncni/types/
	install -m 644 deploy/mncni.8 deploy/mncni-agent.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	$(PLUGIN) completion >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/mncni
	sed 's|/usr/local/|$(PREFIX)/|' deploy/mncni-agent.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/mncni-agent.service

# Debian packages in build/deb, which lintian finds nothing wrong with; a package's tree has its debian at the top.
DEB_TREE := build/deb/mncni-$(VERSION)
deb: deps-build
	$(call need,$(DEB_PACKAGES))
	$(Q)rm -rf build/deb && mkdir -p $(DEB_TREE)
	$(Q)tar -c --exclude=./build --exclude=./.git . | tar -x -C $(DEB_TREE)
	$(Q)mv $(DEB_TREE)/deploy/debian $(DEB_TREE)/debian
	$(Q)cd $(DEB_TREE) && test "$$(dpkg-parsechangelog -S Version)" = $(VERSION) \
		|| { echo "deploy/debian/changelog does not begin with $(VERSION)" >&2; exit 1; }
	$(Q)cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKEOVERRIDES dpkg-buildpackage -us -uc -b -j$$(nproc) >../build.log 2>&1 \
		|| { tail -n 30 ../build.log; exit 1; }
	$(Q)mkdir build/deb/tmp && TMPDIR=$(CURDIR)/build/deb/tmp lintian --allow-root --fail-on error,warning build/deb/*.changes
	$(Q)rm -rf build/deb/tmp
	@ls build/deb/*.deb
.PHONY: deb

# The Lua module alone, for a stock lua5.4; luarocks says where to.
LUA_LIBDIR ?= $(PREFIX)/lib/lua/5.4
LUA_SHAREDIR ?= $(PREFIX)/share/lua/5.4

lua-module: $(LUA_MODULE) $(HTTP_MODULES) $(NFT_MODULE) $(TRACE_MODULE)

install-lua: lua-module
	install -d $(DESTDIR)$(LUA_LIBDIR)/mncni $(addprefix $(DESTDIR)$(LUA_SHAREDIR)/mncni/,cmd verb)
	install -m 755 $(LUA_MODULE) $(HTTP_MODULES) $(NFT_MODULE) $(TRACE_MODULE) $(DESTDIR)$(LUA_LIBDIR)/mncni/
	install -m 644 lua/mncni/*.lua $(DESTDIR)$(LUA_SHAREDIR)/mncni/
	install -m 644 lua/mncni/cmd/*.lua $(DESTDIR)$(LUA_SHAREDIR)/mncni/cmd/
	install -m 644 lua/mncni/verb/*.lua $(DESTDIR)$(LUA_SHAREDIR)/mncni/verb/

clean:
	rm -rf build

.PHONY: all deps-build deps-test deps-kubernetes deps-vm deps-bench deps-demo test demo cni-bin spec-tools lua-module install install-lua clean
