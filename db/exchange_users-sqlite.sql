-- SPDX-License-Identifier: GPL-2.0-or-later
-- Users of pua_exchange (modparams db_url, db_table):
--   sqlite3 /var/lib/kamailio/exchange.sqlite <exchange_users-sqlite.sql
-- mailbox null: the AoR's user part at mailbox_domain. enabled 0: known, but not followed. remind 0: no
-- reminders. For other databases the same columns and types do.
CREATE TABLE exchange_users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    aor VARCHAR(255) NOT NULL UNIQUE,
    mailbox VARCHAR(255) DEFAULT NULL,
    enabled INTEGER DEFAULT 1 NOT NULL,
    remind INTEGER DEFAULT 1 NOT NULL
);
-- Kamailio and OpenSIPS keep here which version each table has
CREATE TABLE IF NOT EXISTS version (
    table_name VARCHAR(32) NOT NULL,
    table_version INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT version_table_name_idx UNIQUE (table_name)
);
INSERT INTO version (table_name, table_version) VALUES ('exchange_users', 1);
