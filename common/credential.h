/* Secrets that the service manager hands over: files in $CREDENTIALS_DIRECTORY (systemd's LoadCredential=). */
#pragma once
#include <sys/types.h>

/* Path of the credential `name`, or `service_name` as a folder of credentials gives it, when the service manager gave one, else
 * NULL. Allocated; the caller frees it. */
char *credential_path(const char *service, const char *name);

/* The permission bits that a file with a secret must not have. In $CREDENTIALS_DIRECTORY the group bits only tell of the
 * access list by which systemd lets the service's user in. */
mode_t credential_forbidden_bits(const char *path);
