/* Why a sweep does not get on, in one line each, for people who look at it. What cannot be found out is no hint. */
#pragma once
#include "ctl.h"

/* Nothing runs although the sweep does: no worker, none that takes it, or all are busy. */
bool hint_waiting(struct ctl *ctl, const json_t *sweep, char *ret, size_t size);

/* It is paused: how it goes on. */
bool hint_paused(const json_t *sweep, char *ret, size_t size);

/* Trials have failed: one of them, and why. */
bool hint_failed(struct ctl *ctl, const json_t *sweep, char *ret, size_t size);

/* The items of a list; NULL when there is no getting them. */
json_t *get_items(struct ctl *ctl, const char *path);
