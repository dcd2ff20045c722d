/* systemd's side of a service: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without a service manager everything
 * here does nothing. Not thread-safe: called from the main thread. */
#pragma once
#include <stdint.h>

#include "common/error.h"

/* "READY=1", "STOPPING=1", "WATCHDOG=1", several lines at once */
void notify_service_manager(const char *state);

/* "RELOADING=1" with the clock reading that newer managers want; READY=1 ends it. */
void notify_reloading(void);

/* How often WATCHDOG=1 is wanted at the latest, in µs (WATCHDOG_USEC); 0 = nobody watches this process. */
uint64_t notify_watchdog_us(void);

/* The one socket that the service manager listens on for us (LISTEN_FDS). 0 = none; -EINVAL (in err) when it gave several.
 * Forgets the environment's word for it, so that children do not take it for theirs. */
int notify_take_socket(int *ret_fd, struct error *err);
