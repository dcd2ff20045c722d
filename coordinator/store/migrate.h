/* Brings a database to the newest version: backup copy, then every missing migration in one transaction. */
#pragma once
#include "schema/schema.h"
#include "store/statement.h"

/* migrations: 1 … n. FILE.vN.bak is made first when the database already holds version N > 0. */
int store_migrate(struct store *store, const struct migration *migrations, size_t n, struct error *err);
