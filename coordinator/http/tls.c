/* A handshake borrows the certificate that was current when it began, so a replaced one is kept until no handshake can
 * still have it: libmicrohttpd ends a silent connection long before OLD_AFTER_MS. */
#include "http/tls.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "http/clock.h"

#define CHAIN_MAX 16
#define OLD_AFTER_MS 600000
#define OLD_MAX 64
#define WARN_BEFORE_S (14 * 86400)

struct identity {
        gnutls_pcert_st chain[CHAIN_MAX];
        unsigned n_chain;
        gnutls_privkey_t key;
        uint64_t replaced_ms;
        struct identity *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct identity *current, *old; /* guarded by lock; old: newest first */

static void identity_free(struct identity *identity) {
        if (!identity)
                return;
        for (unsigned i = 0; i < identity->n_chain; i++)
                gnutls_pcert_deinit(&identity->chain[i]);
        if (identity->key)
                gnutls_privkey_deinit(identity->key);
        free(identity);
}

static gnutls_datum_t datum(const char *text) {
        return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

/* GnuTLS says whether the two fit when they are given to credentials. */
static int check_pair(const char *cert, const char *key, struct error *err) {
        gnutls_certificate_credentials_t scratch;
        gnutls_datum_t cert_text = datum(cert), key_text = datum(key);
        int r = gnutls_certificate_allocate_credentials(&scratch);
        if (r < 0)
                return error_set(err, -ENOMEM, "out of memory");
        r = gnutls_certificate_set_x509_key_mem(scratch, &cert_text, &key_text, GNUTLS_X509_FMT_PEM);
        gnutls_certificate_free_credentials(scratch);
        return r < 0 ? error_set(err, -EINVAL, "tls-cert and tls-key: %s", gnutls_strerror(r)) : 0;
}

static int read_dates(const gnutls_datum_t *text, int64_t *ret_from_s, int64_t *ret_to_s) {
        gnutls_x509_crt_t leaf;
        if (gnutls_x509_crt_init(&leaf) < 0)
                return -ENOMEM;
        int r = gnutls_x509_crt_import(leaf, text, GNUTLS_X509_FMT_PEM) == 0 ? 0 : -EINVAL;
        if (r == 0) {
                *ret_from_s = gnutls_x509_crt_get_activation_time(leaf);
                *ret_to_s = gnutls_x509_crt_get_expiration_time(leaf);
        }
        gnutls_x509_crt_deinit(leaf);
        return r;
}

static void warn_of_dates(const gnutls_datum_t *text) {
        int64_t from, to, now = time(NULL);
        if (read_dates(text, &from, &to) < 0)
                return;
        if (to < now)
                log_warning("the certificate has expired: clients will refuse it");
        else if (to - now < WARN_BEFORE_S)
                log_warning("the certificate expires soon", log_i("days", (to - now) / 86400));
        if (from > now)
                log_warning("the certificate is not valid yet: clients will refuse it");
}

int tls_check(const char *cert, const char *key, int64_t *ret_from_s, int64_t *ret_to_s, struct error *err) {
        gnutls_datum_t text = datum(cert);
        int r = check_pair(cert, key, err);
        if (r == 0 && read_dates(&text, ret_from_s, ret_to_s) < 0)
                r = error_set(err, -EINVAL, "tls-cert: it cannot be read");
        return r;
}

static int make_identity(const char *cert, const char *key, struct identity **ret, struct error *err) {
        int r = check_pair(cert, key, err);
        if (r < 0)
                return r;
        struct identity *identity = calloc(1, sizeof *identity);
        if (!identity)
                return error_set(err, -ENOMEM, "out of memory");
        gnutls_datum_t cert_text = datum(cert), key_text = datum(key);
        unsigned n = CHAIN_MAX;
        r = gnutls_pcert_list_import_x509_raw(identity->chain, &n, &cert_text, GNUTLS_X509_FMT_PEM, 0);
        if (r == 0)
                identity->n_chain = n;
        if (r == 0)
                r = gnutls_privkey_init(&identity->key);
        if (r == 0)
                r = gnutls_privkey_import_x509_raw(identity->key, &key_text, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (r < 0) {
                identity_free(identity);
                return error_set(err, -EINVAL, "tls-cert and tls-key: %s", gnutls_strerror(r));
        }
        warn_of_dates(&cert_text);
        *ret = identity;
        return 0;
}

/* Under the lock: drops what no handshake can have any more; how many are left. */
static unsigned forget_old(uint64_t now_ms) {
        unsigned n = 0;
        for (struct identity **at = &old; *at;) {
                struct identity *identity = *at;
                if (now_ms - identity->replaced_ms > OLD_AFTER_MS) {
                        *at = identity->next;
                        identity_free(identity);
                } else {
                        at = &identity->next;
                        n++;
                }
        }
        return n;
}

int tls_use(const char *cert, const char *key, struct error *err) {
        struct identity *identity = NULL;
        int r = make_identity(cert, key, &identity, err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&lock);
        uint64_t now = clock_mono_ms();
        if (forget_old(now) >= OLD_MAX)
                r = -EAGAIN;
        else if (current) {
                current->replaced_ms = now;
                current->next = old;
                old = current;
        }
        if (r == 0)
                current = identity;
        pthread_mutex_unlock(&lock);
        if (r == 0)
                return 0;
        identity_free(identity);
        return error_set(err, r, "the certificate was replaced %d times within %d minutes", OLD_MAX, OLD_AFTER_MS / 60000);
}

void tls_forget(void) {
        pthread_mutex_lock(&lock);
        identity_free(current);
        current = NULL;
        for (struct identity *next; old; old = next) {
                next = old->next;
                identity_free(old);
        }
        pthread_mutex_unlock(&lock);
}

static int give_identity(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities, const gnutls_pk_algorithm_t *algorithms,
                         int n_algorithms, gnutls_pcert_st **ret_chain, unsigned *ret_n, gnutls_privkey_t *ret_key) {
        (void)session, (void)authorities, (void)n_authorities, (void)algorithms, (void)n_algorithms;
        pthread_mutex_lock(&lock);
        struct identity *identity = current;
        pthread_mutex_unlock(&lock);
        if (!identity)
                return -1;
        *ret_chain = identity->chain;
        *ret_n = identity->n_chain;
        *ret_key = identity->key;
        return 0;
}

void *tls_callback(void) {
        return (void *)give_identity;
}
