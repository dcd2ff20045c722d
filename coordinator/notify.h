/* Tells systemd how the service is doing (sd_notify(3)); without NOTIFY_SOCKET it does nothing. */
#pragma once

/* "READY=1", "STOPPING=1" */
void notify_service_manager(const char *state);
