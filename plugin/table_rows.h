/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table_rows.h - the users' table through a proxy's database interface; for kamailio.c and opensips.c
 * alone. Both interfaces have one ancestor and differ in names, which the includer gives: PX_DB(name)
 * for the types of values, px_db_con and px_db_res for connection and result.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "module.h"

#define PX_ROWS_AT_ONCE 1000

/* The bytes of a value; number: where an integer's digits go. */
static struct px_cell cell_of(const db_val_t *v, char number[24])
{
	struct px_cell c = {NULL, 0};

	if (VAL_NULL(v))
		return c;
	switch (VAL_TYPE(v)) {
	case PX_DB(INT):
		c.n = (size_t)snprintf(number, 24, "%d", VAL_INT(v));
		c.s = number;
		break;
	case PX_DB(BIGINT):
		c.n = (size_t)snprintf(number, 24, "%lld", (long long)VAL_BIGINT(v));
		c.s = number;
		break;
	case PX_DB(STRING):
		c.s = VAL_STRING(v);
		c.n = c.s ? strlen(c.s) : 0;
		break;
	case PX_DB(STR):
		c = (struct px_cell){VAL_STR(v).s, (size_t)VAL_STR(v).len};
		break;
	case PX_DB(BLOB):
		c = (struct px_cell){VAL_BLOB(v).s, (size_t)VAL_BLOB(v).len};
		break;
	default:
		break; /* no type of a column that we ask for */
	}
	return c;
}

static int hand_over(const px_db_res *res, px_table_row_h *row, void *arg)
{
	int err = 0;

	for (int i = 0; i < RES_ROW_N(res) && err == 0; i++) {
		const db_val_t *v = ROW_VALUES(RES_ROWS(res) + i);
		char number[PX_TABLE_COLUMN_COUNT][24];
		struct px_cell cell[PX_TABLE_COLUMN_COUNT];

		for (int j = 0; j < PX_TABLE_COLUMN_COUNT; j++)
			cell[j] = cell_of(v + j, number[j]);
		err = row(arg, cell);
	}
	return err;
}

/* All rows, with a connection that has the table in use. */
static int read_rows(const db_func_t *db, px_db_con *con, px_table_row_h *row, void *arg)
{
#define COLUMN(name) {#name, sizeof #name - 1},
	str name[] = {PX_TABLE_COLUMNS(COLUMN)};
#undef COLUMN
	db_key_t column[PX_TABLE_COLUMN_COUNT];
	const bool slices = db->cap & DB_CAP_FETCH;
	px_db_res *res = NULL;
	int err;

	for (int i = 0; i < PX_TABLE_COLUMN_COUNT; i++)
		column[i] = &name[i];
	if (db->query(con, NULL, NULL, NULL, column, 0, PX_TABLE_COLUMN_COUNT, NULL,
	              slices ? NULL : &res) < 0)
		return -EIO;
	if (slices && db->fetch_result(con, &res, PX_ROWS_AT_ONCE) < 0)
		return -EIO;
	do
		err = res ? hand_over(res, row, arg) : 0;
	while (err == 0 && slices && res && RES_ROW_N(res) > 0 &&
	       (db->fetch_result(con, &res, PX_ROWS_AT_ONCE) == 0 || (err = -EIO, false)));
	if (res)
		db->free_result(con, res);
	return err;
}

/* px_table_read_h, with what the proxy bound for the URL. */
static int read_table_with(const db_func_t *db, const char *url, const char *table,
                           px_table_row_h *row, void *arg, char why[PX_WHY_MAX])
{
	const str u = {(char *)url, (int)strlen(url)}, t = {(char *)table, (int)strlen(table)};
	px_db_con *con = db->init(&u);
	int err;

	if (!con) {
		snprintf(why, PX_WHY_MAX, "the database of db_url can't be opened");
		return -EIO;
	}
	err = db->use_table(con, &t) < 0 ? -EIO : read_rows(db, con, row, arg);
	db->close(con);
	if (err == -EIO)
		snprintf(why, PX_WHY_MAX,
		         "the database has no such table with aor, mailbox, enabled and remind");
	return err;
}
