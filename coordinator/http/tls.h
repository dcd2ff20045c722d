/* The certificate of the server: may be replaced while connections live and handshakes run. One per process, because
 * libmicrohttpd's callback has no room for more. Any thread. */
#pragma once
#include <microhttpd.h>
#include <stdint.h>

#include "common/error.h"

/* TLS 1.2 and newer, GnuTLS's secure defaults otherwise. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* PEM texts: the chain, leaf first, and its key. From now on new handshakes use them; on failure all stays as it was.
 * -EINVAL with a sentence: not PEM, key and certificate do not belong together. -EAGAIN: replaced too often just now. */
int tls_use(const char *cert, const char *key, struct error *err);
/* Would tls_use take them? When the certificate begins and ceases to be valid, seconds since 1970. */
int tls_check(const char *cert, const char *key, int64_t *ret_from_s, int64_t *ret_to_s, struct error *err);
void tls_forget(void); /* no handshake may run */

/* A gnutls_certificate_retrieve_function2, for MHD_OPTION_HTTPS_CERT_CALLBACK. */
void *tls_callback(void);
