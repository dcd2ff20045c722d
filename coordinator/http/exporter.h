/* Exports on their way: a thread of its own reads them page by page through a database connection of its own and fills a small
 * buffer of each, which libmicrohttpd's thread empties into the socket. Neither the core thread nor other answers wait for
 * them, and an export costs the same memory whatever its size. */
#pragma once
#include <stddef.h>

#include "common/error.h"

struct api_export;
struct exporter;
struct store;
struct MHD_Connection;
struct MHD_Response;

#define EXPORTS_MAX 32 /* at once */

/* store is the exporter's own, and outlives it. */
int exporter_new(struct store *store, struct exporter **ret, struct error *err);
/* No export is left: free it after http_close. */
void exporter_free(struct exporter *exporter);

/* On libmicrohttpd's thread. The answer that streams; takes the export. NULL, with nothing taken, when there are too many or
 * there is no memory. */
struct MHD_Response *exporter_send(struct exporter *exporter, struct MHD_Connection *connection, struct api_export *export);

/* Every export is cut off, those to come as well. */
void exporter_close(struct exporter *exporter);

size_t exporter_count(struct exporter *exporter);
