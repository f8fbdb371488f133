# SPDX-License-Identifier: GPL-2.0-or-later
#
# One flavour of objects for what is installed (build/obj), one under ASan and UBSan for the tests (build/asan).
# A new .c file in a room is picked up by itself; tests/test_X.c becomes build/asan/test_X.

CC       ?= gcc
BUILD    := build
STD      := -std=c11 -D_GNU_SOURCE
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef
INC      := -Iinclude -Isrc
OPT      := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
SAN      := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DPX_SANITIZED=1
LDOPT    := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

PC       := sofia-sip-ua libcurl libxml-2.0 libssl libcrypto krb5-gssapi libmicrohttpd
SIMPC    := libmicrohttpd jansson libxml-2.0 libssl libcrypto
TESTPC   := cmocka libmicrohttpd jansson
flags     = $(shell pkg-config --cflags $(1) 2>/dev/null)
libs      = $(shell pkg-config --libs $(1) 2>/dev/null)
CFLAGS_ALL = $(STD) $(WARN) $(INC) $(patsubst -I%,-isystem %,$(call flags,$(PC) $(SIMPC) $(TESTPC)))

ROOMS    := $(wildcard src/core/*.c) $(wildcard src/backend/*.c) $(wildcard src/io/*.c)
WORKER   := $(wildcard src/*.c)
PLUGIN   := $(filter-out plugin/kamailio.c plugin/opensips.c,$(wildcard plugin/*.c))
SIM      := $(filter-out tests/exchange/test_%.c tests/exchange/main.c,$(wildcard tests/exchange/*.c))
WATCH    := $(filter-out tests/watcher/test_%.c tests/watcher/main.c,$(wildcard tests/watcher/*.c))
UNIT     := $(wildcard tests/test_*.c) $(wildcard tests/exchange/test_*.c) $(wildcard tests/watcher/test_*.c)
# what the module in the proxy has of the core: it checks its settings with the worker's own eyes
MODULE   := $(PLUGIN) $(addprefix src/core/,settings.c users.c key.c buf.c host.c lang.c said.c availability.c wall.c) src/io/file.c
PROGRAMS := pua_exchange_worker exchange-sim presence-watch

# $(call objs,flavour,sources)
objs      = $(patsubst %.c,$(BUILD)/$(1)/%.o,$(2))
UNITBIN  := $(patsubst tests/%.c,$(BUILD)/asan/bin/%,$(UNIT))

# make V=1 shows the commands
say       = $(if $(V),,@echo '  $(1)';)

.DEFAULT_GOAL := all
.PHONY: all kamailio opensips docs install uninstall deps demo settings-table check check-unit check-io check-hosts check-table check-peers bench fuzz torture layers lint clean asan sim settings-table
.SECONDARY:

all: $(addprefix $(BUILD)/,$(PROGRAMS))
asan: $(addprefix $(BUILD)/asan/,$(PROGRAMS)) $(UNITBIN)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS_ALL) $(OPT) -MMD -MP -c $< -o $@

$(BUILD)/asan/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC-asan $<)$(CC) $(CFLAGS_ALL) $(SAN) -MMD -MP -c $< -o $@

$(BUILD)/pua_exchange_worker: $(call objs,obj,$(WORKER) $(ROOMS))
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@ $(call libs,$(PC))
$(BUILD)/exchange-sim: $(call objs,obj,tests/exchange/main.c $(SIM))
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@ $(call libs,$(SIMPC)) -lpthread
$(BUILD)/presence-watch: $(call objs,obj,tests/watcher/main.c $(WATCH))
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@ $(call libs,$(PC) jansson)

$(BUILD)/asan/pua_exchange_worker: $(call objs,asan,$(WORKER) $(ROOMS))
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(PC))
$(BUILD)/asan/exchange-sim: $(call objs,asan,tests/exchange/main.c $(SIM))
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(SIMPC)) -lpthread
$(BUILD)/asan/presence-watch: $(call objs,asan,tests/watcher/main.c $(WATCH))
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(PC) jansson)

$(BUILD)/asan/bin/exchange/test_%: $(BUILD)/asan/tests/exchange/test_%.o $(call objs,asan,$(SIM))
	@mkdir -p $(@D)
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(SIMPC) cmocka) -lpthread
# starts the program
$(BUILD)/asan/bin/exchange/test_front: | $(BUILD)/asan/exchange-sim
$(BUILD)/asan/bin/watcher/test_%: $(BUILD)/asan/tests/watcher/test_%.o $(call objs,asan,$(WATCH))
	@mkdir -p $(@D)
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(PC) jansson cmocka)
$(BUILD)/asan/bin/test_%: $(BUILD)/asan/tests/test_%.o $(call objs,asan,$(ROOMS) $(PLUGIN))
	@mkdir -p $(@D)
	$(call say,LINK $@)$(CC) $(SAN) $^ -o $@ $(call libs,$(PC) $(TESTPC)) -lpthread
# The engine alone, in virtual time.
$(BUILD)/asan/bin/test_sim: $(call objs,asan,$(filter-out tests/sim/main.c,$(wildcard tests/sim/*.c)))
$(BUILD)/asan/bin/test_engine $(BUILD)/asan/bin/test_walk $(BUILD)/asan/bin/test_remind $(BUILD)/asan/bin/test_state: $(call objs,asan,tests/sim/fake.c)
$(BUILD)/sim: $(call objs,obj,$(wildcard tests/sim/*.c src/core/*.c src/backend/*.c))
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@ $(call libs,libxml-2.0)

# Kamailio's module, against the source of the version that is installed. It exports only what Kamailio looks for.
PREFIX   ?= /usr/local
SBINDIR  ?= $(PREFIX)/sbin
KAMAILIO_SRC ?= $(firstword $(wildcard $(BUILD)/kamailio-src/kamailio-*))
KAMFLAGS := $(STD) $(WARN) -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIC -fvisibility=hidden
kamailio: $(BUILD)/kamailio/pua_exchange.so
# looked at each time: another KAMAILIO_SRC, another kamailio installed
.PHONY: always
$(BUILD)/kamailio/flags: always
	@plugin/kamailio_flags "$(abspath $(KAMAILIO_SRC))" $@ "-DPX_WORKER='\"$(SBINDIR)/pua_exchange_worker\"'"
$(BUILD)/kamailio/plugin/kamailio.o: plugin/kamailio.c $(BUILD)/kamailio/flags
	@mkdir -p $(@D)
	$(call say,CC-kamailio $<)$(CC) $(filter-out -Wundef -Wshadow -Wstrict-prototypes,$(KAMFLAGS)) -std=gnu11 -Iinclude -Iplugin @$(BUILD)/kamailio/flags -MMD -MP -c $< -o $@
$(BUILD)/kamailio/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC-kamailio $<)$(CC) $(KAMFLAGS) $(INC) -MMD -MP -c $< -o $@
$(BUILD)/kamailio/pua_exchange.so: $(call objs,kamailio,plugin/kamailio.c $(MODULE))
	$(call say,LINK $@)$(CC) -shared -Wl,-z,relro,-z,now -Wl,--as-needed $^ -o $@

# OpenSIPS' module, against the configured source of the version that is to load it
OPENSIPS_SRC ?=
# then the tests of the hosts run there, too, and it is installed
ifneq ($(OPENSIPS_SRC),)
override OPENSIPS_SRC := $(abspath $(OPENSIPS_SRC))
export OPENSIPS_SRC
WITH_OPENSIPS := opensips
endif
opensips: $(BUILD)/opensips/pua_exchange.so
$(BUILD)/opensips/flags: always
	@plugin/opensips_flags "$(OPENSIPS_SRC)" $@ "-DPX_WORKER='\"$(SBINDIR)/pua_exchange_worker\"'"
$(BUILD)/opensips/plugin/opensips.o: plugin/opensips.c $(BUILD)/opensips/flags
	@mkdir -p $(@D)
	$(call say,CC-opensips $<)$(CC) $(filter-out -Wundef -Wshadow -Wstrict-prototypes,$(KAMFLAGS)) -std=gnu11 -Iinclude -Iplugin @$(BUILD)/opensips/flags -MMD -MP -c $< -o $@
# all but the adapter is the same
$(BUILD)/opensips/pua_exchange.so: $(BUILD)/opensips/plugin/opensips.o $(call objs,kamailio,$(MODULE))
	$(call say,LINK $@)$(CC) -shared -Wl,-z,relro,-z,now -Wl,--as-needed $^ -o $@

$(BUILD)/settings_table: $(call objs,obj,tests/settings_table.c $(wildcard src/core/*.c))
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@
# the tables of settings in README.md, between its markers, from include/px_settings.def
settings-table: $(BUILD)/settings_table
	$< >$(BUILD)/settings.md
	sed -i -e '/<!-- settings -->/,/<!-- \/settings -->/{//!d}' -e '/<!-- settings -->/r $(BUILD)/settings.md' README.md

# the module's README in the manner of each proxy, from what the code says
$(BUILD)/readme: $(call objs,obj,plugin/readme/readme.c)
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@
docs: $(BUILD)/README.pua_exchange $(BUILD)/README.pua_exchange.opensips
$(BUILD)/README.pua_exchange: $(BUILD)/readme
	$< kamailio >$@
$(BUILD)/README.pua_exchange.opensips: $(BUILD)/readme
	$< opensips >$@

# PREFIX, DESTDIR; KAMAILIO_MODULES is where the installed Kamailio looks for modules. With OPENSIPS_SRC
# OpenSIPS' module, too, or alone where there is no Kamailio: OPENSIPS_MODULES is where it looks, by
# default as its source says.
DOCDIR   ?= $(PREFIX)/share/doc/pua_exchange
DATADIR  ?= $(PREFIX)/share/pua_exchange
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
KAMAILIO_MODULES ?= $(patsubst %/tm.so,%,$(firstword $(wildcard $(patsubst %,%/kamailio/modules/tm.so,/usr/lib/$(MULTIARCH) /usr/lib64 /usr/lib /usr/local/lib64 /usr/local/lib))))
WITH_KAMAILIO = $(if $(or $(KAMAILIO_MODULES),$(if $(OPENSIPS_SRC),,yes)),kamailio)
OPENSIPS_MODULES ?= $(if $(OPENSIPS_SRC),$(shell printf 'include Makefile.conf\ninclude Makefile.sources\ninclude Makefile.defs\nwhere:\n\t@echo $$(modules_prefix)/$$(modules_dir)\n' | $(MAKE) -s --no-print-directory -C $(OPENSIPS_SRC) -f - where 2>/dev/null | tr -s / | sed 's,/$$,,'))
INSTALLED = $(SBINDIR)/pua_exchange_worker $(if $(WITH_KAMAILIO),$(KAMAILIO_MODULES)/pua_exchange.so) \
	$(addprefix $(DOCDIR)/,README.md README.pua_exchange README.pua_exchange.opensips kamailio.cfg.sample opensips.cfg.sample LICENSE) \
	$(addprefix $(DATADIR)/,$(patsubst db/%,%,$(shell find db -type f)) $(patsubst plugin/%,%,$(wildcard plugin/monitoring/*)))
install: all $(WITH_KAMAILIO) docs $(WITH_OPENSIPS)
	$(if $(KAMAILIO_MODULES)$(OPENSIPS_SRC),,$(error there is no Kamailio that says where its modules are; give KAMAILIO_MODULES=DIR))
	install -D -m 755 $(BUILD)/pua_exchange_worker $(DESTDIR)$(SBINDIR)/pua_exchange_worker
	$(if $(WITH_KAMAILIO),install -D -m 644 $(BUILD)/kamailio/pua_exchange.so $(DESTDIR)$(KAMAILIO_MODULES)/pua_exchange.so)
	$(if $(WITH_OPENSIPS),install -D -m 644 $(BUILD)/opensips/pua_exchange.so $(DESTDIR)$(OPENSIPS_MODULES)/pua_exchange.so)
	install -d $(DESTDIR)$(DOCDIR) $(DESTDIR)$(DATADIR)
	install -m 644 README.md LICENSE plugin/kamailio.cfg.sample plugin/opensips.cfg.sample $(BUILD)/README.pua_exchange $(BUILD)/README.pua_exchange.opensips $(DESTDIR)$(DOCDIR)
	cp -R db/. plugin/monitoring $(DESTDIR)$(DATADIR)
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED)) $(if $(WITH_OPENSIPS),$(DESTDIR)$(OPENSIPS_MODULES)/pua_exchange.so)
	-rmdir -p --ignore-fail-on-non-empty $(DESTDIR)$(DOCDIR) $(DESTDIR)$(DATADIR)/dbtext $(DESTDIR)$(DATADIR)/monitoring $(DESTDIR)$(DATADIR) 2>/dev/null || true

# what a bare Debian 12 needs, and Kamailio's source under build/kamailio-src
deps:
	tests/deps

# a minute to watch: meetings begin and end, a server dies; what it needs is installed and built first
demo:
	$(if $(filter-out ews webdav,$(GATEWAY)),$(error GATEWAY=$(GATEWAY): not known; give ews or webdav))
	@tests/deps
	@$(MAKE) --no-print-directory -s all kamailio
	@GATEWAY=$(GATEWAY) /usr/bin/python3 tests/demo/demo.py

check: asan layers kamailio $(WITH_OPENSIPS)
	tests/run unit io hosts
check-unit: $(UNITBIN)
	tests/run unit
check-io: $(addprefix $(BUILD)/asan/,$(PROGRAMS))
	tests/run io
check-hosts: $(addprefix $(BUILD)/asan/,$(PROGRAMS)) kamailio $(WITH_OPENSIPS)
	tests/run hosts

# every version of Exchange by every kind of subscription and every login: 36 workers at once, so by itself
check-table: $(addprefix $(BUILD)/asan/,$(PROGRAMS))
	/usr/bin/python3 -m pytest -v tests/io/table.py

# clients that others wrote, against exchange-sim; not part of check: needs Node.js, npm and its registry
check-peers: $(BUILD)/exchange-sim $(BUILD)/pua_exchange_worker
	tests/peers/run

# what it is worth: tests/bench/README.md; BENCH="publish cold storm follow" names parts of it
$(BUILD)/bench/%: $(call objs,obj,tests/bench/%.c)
	@mkdir -p $(@D)
	$(call say,LINK $@)$(CC) $(OPT) $(LDOPT) $^ -o $@ $(call libs,sofia-sip-ua libxml-2.0)
$(BUILD)/bench/parse $(BUILD)/bench/day: $(call objs,obj,$(filter-out src/io/%,$(ROOMS)))
$(BUILD)/bench/board: $(call objs,obj,$(wildcard src/core/*.c) src/io/board.c $(addprefix plugin/,script.c control.c board.c show.c))
bench: $(addprefix $(BUILD)/,pua_exchange_worker exchange-sim presence-watch bench/sink bench/nta_loop bench/parse bench/day bench/board)
	/usr/bin/python3 tests/bench/bench.py $(BENCH)

# libFuzzer (clang) over whatever strangers send: tests/fuzz/; FUZZ_RUNS=1000000, FUZZ="ews xml" names some of the targets
CLANG    ?= clang
FUZZSAN  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZERS  := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC-fuzz $<)$(CLANG) $(CFLAGS_ALL) $(FUZZSAN) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(call objs,fuzz/obj,$(ROOMS) plugin/board.c)
	$(call say,LINK $@)$(CLANG) $(FUZZSAN) -fsanitize=fuzzer $^ -o $@ $(call libs,$(PC))
fuzz:
	@echo 'int LLVMFuzzerTestOneInput(const char *b, unsigned long n); int LLVMFuzzerTestOneInput(const char *b, unsigned long n) { return b && n > 9; }' | \
		$(CLANG) -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null || { \
		echo 'fuzz: clang with libFuzzer is missing: apt-get install clang libclang-rt-14-dev' >&2; exit 1; }
	@$(MAKE) --no-print-directory $(addprefix $(BUILD)/fuzz/,$(FUZZERS))
	tests/fuzz/run $(FUZZ)

# which room may know which
layers:
	tests/layers

lint:
	git ls-files '*.c' '*.h' | xargs clang-format -n -Werror
	cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr --std=c11 \
		--suppress=missingIncludeSystem -Iinclude -Isrc src plugin

# a storm of 10,000 changes, and the worker killed and stopped again and again: optimised programs, some minutes
torture: all kamailio $(WITH_OPENSIPS) $(BUILD)/bench/board
	PX_BUILD=$(BUILD) /usr/bin/python3 -m pytest -q -s tests/torture $(if $(TORTURE),-k "$(TORTURE)")
ifdef WITH_OPENSIPS
	PX_BUILD=$(BUILD) PX_HOST=opensips /usr/bin/python3 -m pytest -q -s tests/torture -k "(kills or reload)$(if $(TORTURE), and ($(TORTURE)))" || [ $$? = 5 ]
endif

# 10,000 users, 4 CAS of every version, a week, every fault at once; then each kind of subscription alone, and WebDAV
SEEDS ?= 1
USERS ?= 10000
DAYS  ?= 7
KINDS ?= auto streaming push pull none webdav
sim: $(BUILD)/sim
	failed=0; for k in $(KINDS); do for s in $(SEEDS); do \
		$(BUILD)/sim -k $$k -s $$s -u $(USERS) -d $(DAYS) || failed=1; done; done; exit $$failed

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
