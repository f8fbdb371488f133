/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adapter.h - what the modules of both proxies have word for word, in terms that both proxies define; for kamailio.c
 * and opensips.c alone, after the proxy's headers. PX_INT_PARAM: its type of an integer modparam.
 */
#include <stdio.h>

#include "module.h"
#include "script.h"

#ifndef PX_WORKER
#error "PX_WORKER is the path of the installed pua_exchange_worker"
#endif

#define MODULE "pua_exchange"

static void say_line(enum px_level level, const char *text)
{
	switch (level) {
	case PX_ERROR:
		LM_ERR("%s\n", text);
		break;
	case PX_WARN:
		LM_WARN("%s\n", text);
		break;
	case PX_NOTICE:
		LM_NOTICE("%s\n", text);
		break;
	case PX_INFO:
		LM_INFO("%s\n", text);
		break;
	case PX_DEBUG:
		LM_DBG("%s\n", text);
		break;
	}
}

static px_table_read_h read_table;

static struct px_module module = PX_MODULE_INIT(PX_WORKER, say_line, read_table);

/* ---- modparams: take_NAME() for each ---- */

static int take_param(const char *name, modparam_t type, void *val)
{
	const char *value = val;
	char digits[24];

	if (PARAM_TYPE_MASK(type) == PX_INT_PARAM) {
		snprintf(digits, sizeof digits, "%ld", (long)val);
		value = digits;
	}
	return px_module_param(&module, name, value) < 0 ? -1 : 0;
}

#define PX_GROUP(title)
#define PX_SETTING(name, ...)                                                                      \
	static int take_##name(modparam_t type, void *val)                                         \
	{                                                                                          \
		return take_param(#name, type, val);                                               \
	}
#include "px_settings.def"
#undef PX_SETTING

/* What the worker's log_level is at the proxy's. */
static const char *level_name(int level)
{
	return level >= L_DBG      ? "debug"
	       : level >= L_INFO   ? "info"
	       : level >= L_NOTICE ? "notice"
	       : level >= L_WARN   ? "warn"
	                           : "error";
}

/* ---- script functions ---- */

/* What a script gets: 1 or -1. mailbox: NULL or "" for none. */
static int command(enum px_control_command c, const str *aor, const str *mailbox)
{
	return px_script_command(&module, c, aor->s, (size_t)aor->len, mailbox ? mailbox->s : NULL,
	                         mailbox ? (size_t)mailbox->len : 0)
	           ? 1
	           : -1;
}
