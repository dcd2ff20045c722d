/* sweepd doctor: everything that the server will need, looked at with the server's own code, and what to do about what is
 * wrong. Changes nothing, and may run beside the server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "command.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/doctor.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/rfc3339.h"
#include "common/world.h"
#include "http/tokens.h"
#include "settings.h"
#include "store/store.h"
#include "store/upkeep.h"

#define OPTIONS_MAX 64
#define SOON_MS UINT64_C(1209600000) /* two weeks */
#define CLOCK_START_MS UINT64_C(1735689600000) /* 2025: no clock is before this program */
#define MEMORY_MIN_MIB 256
#define SPARE_DESCRIPTORS 64

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

struct examination {
        const struct config *config;
        const char *database;
        struct settings settings;
        struct doctor doctor;
        bool is_served; /* a server works on the database */
};

#define SAY(e, verdict, check, remedy, ...) doctor_say(&(e)->doctor, DOCTOR_##verdict, check, remedy, __VA_ARGS__)

/* --- the machine ------------------------------------------------------------------------------------------- */

static void look_at_machine(struct examination *e) {
        struct memory_room room;
        struct rlimit limit;
        unsigned wanted = e->settings.http.max_connections + SPARE_DESCRIPTORS;
        memory_look("", &room);
        uint64_t mib = room.resident_bytes >> 20;
        if (room.resident_bytes == UINT64_MAX)
                SAY(e, OK, "memory", NULL, "how much is free is not known");
        else
                doctor_say(&e->doctor, mib < MEMORY_MIN_MIB ? DOCTOR_WARNING : DOCTOR_OK, "memory",
                           "free some: proposals of a model over thousands of trials need a few hundred MiB", "%llu MiB free (%s)",
                           (unsigned long long)mib, room.resident_from);
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                doctor_say(&e->doctor, limit.rlim_max < wanted ? DOCTOR_WARNING : DOCTOR_OK, "descriptors",
                           "raise the hard limit (ulimit -Hn, LimitNOFILE=) or give a smaller --max-connections", "%llu may be open, %u connections",
                           (unsigned long long)limit.rlim_max, e->settings.http.max_connections);
}

static void look_at_clock(struct examination *e) {
        uint64_t now_ms = world_wall_ms(world_real()), seen_ms = 0;
        char now[RFC3339_SIZE], seen[RFC3339_SIZE];
        rfc3339_format(now_ms, now);
        bool knows = e->settings.token_store && store_worker_last_seen(e->settings.token_store, &seen_ms) == 0 && seen_ms > 0;
        if (now_ms < CLOCK_START_MS)
                SAY(e, WRONG, "clock", "set the clock (timedatectl set-ntp true)", "it says %s", now);
        else if (knows && seen_ms > now_ms + 5000) {
                rfc3339_format(seen_ms, seen);
                SAY(e, WRONG, "clock", "set the clock (timedatectl set-ntp true): tokens expire by it, and times of trials would go back",
                    "it says %s, but a worker was seen at %s", now, seen);
        } else
                SAY(e, OK, "clock", NULL, "%s", now);
}

/* --- the database ------------------------------------------------------------------------------------------ */

struct first_fault {
        char text[512], repair[256];
};

static void note_first(void *data, const struct store_fault_text *fault) {
        struct first_fault *first = data;
        if (first->text[0])
                return;
        snprintf(first->text, sizeof first->text, "%s", fault->what);
        snprintf(first->repair, sizeof first->repair, "%s", fault->repair ? fault->repair : "only a backup helps");
}

static void look_at_rows(struct examination *e) {
        struct store_checked checked;
        struct first_fault first = {0};
        struct error err;
        int r = store_check(e->database, 1, note_first, &first, &checked, &err);
        if (r < 0)
                SAY(e, WRONG, "database", "give the right --database, or put a backup in its place (README: Keeping it well)", "%s", err.text);
        else if (checked.n_faults > 0)
                SAY(e, WRONG, "database", "sweepd check lists all; stop the server and put a backup in its place", "%s: %llu faults, the first: %s (%s)",
                    e->database, (unsigned long long)checked.n_faults, first.text, first.repair);
        else
                SAY(e, OK, "database", NULL, "%s: sound, version %lld, %llu sweeps, %llu trials", e->database, (long long)checked.version,
                    (unsigned long long)checked.n_sweeps, (unsigned long long)checked.n_trials);
}

static char *folder_of(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

static void look_at_disk(struct examination *e, const char *folder) {
        uint64_t bytes, wanted = (uint64_t)config_integer(e->config, "min-free-mb") << 20;
        struct error err;
        if (fs_free_bytes(folder, &bytes, &err) < 0)
                SAY(e, WRONG, "disk", "make the folder, or give another --database", "%s", err.text);
        else
                doctor_say(&e->doctor, bytes < wanted ? DOCTOR_WRONG : bytes < 4 * wanted ? DOCTOR_WARNING : DOCTOR_OK, "disk",
                           "free some space, or give a smaller --min-free-mb: below it no new work is taken", "%llu MiB free for %s, at least %llu needed",
                           (unsigned long long)(bytes >> 20), e->database, (unsigned long long)(wanted >> 20));
}

static void look_at_database(struct examination *e) {
        _cleanup_free_ char *folder = folder_of(e->database);
        struct error err;
        int r = store_is_served(e->database, &e->is_served, &err);
        if (!folder)
                return;
        look_at_disk(e, folder);
        if (access(folder, W_OK | X_OK) < 0)
                SAY(e, WRONG, "database", "run this as the server's user, or give that user the folder", "%s: %s may not write here: %s", folder,
                    getuid() == 0 ? "root" : "this user", strerror(errno));
        else if (r == -ENOENT)
                SAY(e, OK, "database", NULL, "%s is not there yet: the server will make it", e->database);
        else if (r < 0)
                SAY(e, WRONG, "database", "run this as the server's user", "%s", err.text);
        else if (access(e->database, R_OK | W_OK) < 0)
                SAY(e, WRONG, "database", "run this as the server's user, or give the file to it", "%s: %s", e->database, strerror(errno));
        else
                look_at_rows(e);
        if (e->is_served)
                SAY(e, OK, "lock", NULL, "a server works on %s", e->database);
}

/* --- who may call, and where ------------------------------------------------------------------------------- */

struct token_tally {
        uint64_t now_ms, n, n_over, n_soon;
        char first_soon[128];
};

static int tally_token(void *data, const struct token_row *row) {
        struct token_tally *tally = data;
        tally->n++;
        if (row->expires_ms == 0)
                return 0;
        if (row->expires_ms <= tally->now_ms)
                tally->n_over++;
        else if (row->expires_ms - tally->now_ms < SOON_MS && tally->n_soon++ == 0)
                snprintf(tally->first_soon, sizeof tally->first_soon, "%s (%s)", row->name, row->role);
        return 0;
}

static void look_at_token_dates(struct examination *e) {
        struct token_tally tally = {.now_ms = world_wall_ms(world_real())};
        if (!e->settings.token_store || store_token_each(e->settings.token_store, tally_token, &tally) < 0 || tally.n == 0)
                return;
        if (tally.n_soon > 0)
                SAY(e, WARNING, "tokens", "make another with 'sweepd token create', then revoke the old one", "%llu expire within two weeks, first %s",
                    (unsigned long long)tally.n_soon, tally.first_soon);
        if (tally.n_over > 0)
                SAY(e, WARNING, "tokens", "'sweepd token list' shows which; revoke them or make new ones", "%llu of %llu in the database have expired",
                    (unsigned long long)tally.n_over, (unsigned long long)tally.n);
}

static void look_at_tokens(struct examination *e) {
        struct error err;
        int r = tokens_new(e->settings.token_path, &e->settings.tokens, &err);
        if (r < 0) {
                SAY(e, WRONG, "tokens", "correct the file: 'role name token' lines, mode 0600", "%s", err.text);
                return;
        }
        r = settings_load_tokens(e->config, &e->settings, &err);
        look_at_token_dates(e);
        int n = tokens_count(e->settings.tokens, world_wall_ms(world_real()));
        if (r < 0)
                SAY(e, WRONG, "tokens", "sweepd token create --role admin --name NAME", "%s", err.text);
        else if (n == 0)
                SAY(e, OK, "tokens", NULL, "none needed: --no-auth on a loopback address");
        else
                doctor_say(&e->doctor, e->settings.http.no_auth ? DOCTOR_WARNING : DOCTOR_OK, "tokens",
                           "leave --no-auth out: with it, requests without a token are the admin's", "%d are good", n);
}

static void look_at_webhooks(struct examination *e) {
        struct error err;
        if (settings_load_webhooks(e->config, &e->settings, &err) < 0)
                SAY(e, WRONG, "webhooks", "correct --webhook, --webhook-event or the file of --webhook-secret-file", "%s", err.text);
        else if (e->settings.webhooks.n_urls > 0)
                doctor_say(&e->doctor, e->settings.webhook_secret ? DOCTOR_OK : DOCTOR_WARNING, "webhooks", "give --webhook-secret-file, so that the receiver can tell who calls",
                           "%zu%s", e->settings.webhooks.n_urls, e->settings.webhook_secret ? ", signed" : ", not signed");
}

static void look_at_certificate(struct examination *e) {
        struct error err;
        int64_t from, to, now = (int64_t)(world_wall_ms(world_real()) / 1000);
        const struct http_config *http = &e->settings.http;
        if (settings_load_certificate(&e->settings, &err) < 0) {
                SAY(e, WRONG, "tls", "give readable PEM files as --tls-cert and --tls-key", "%s", err.text);
                return;
        }
        settings_describe_http(e->config, 0, &e->settings);
        if (!http->tls_cert && !http->tls_key) {
                bool is_local = http_check(&(struct http_config){.listen = http->listen, .no_auth = true}, &err) != -EACCES;
                doctor_say(&e->doctor, is_local ? DOCTOR_OK : DOCTOR_WARNING, "tls",
                           "give --tls-cert and --tls-key, or a proxy that speaks HTTPS in front: tokens cross the network as text", "none%s",
                           is_local ? " needed on a loopback address" : ", and the address is not loopback");
        } else if (!http->tls_cert || !http->tls_key)
                SAY(e, WRONG, "tls", "give both", "--tls-cert and --tls-key go together");
        else if (http_check_certificate(http->tls_cert, http->tls_key, &from, &to, &err) < 0)
                SAY(e, WRONG, "tls", "give a PEM certificate chain, leaf first, and its own key", "%s", err.text);
        else if (to <= now || from > now)
                SAY(e, WRONG, "tls", "get a new certificate, or set the clock; SIGHUP takes it without a restart", "the certificate %s",
                    to <= now ? "has expired" : "is not valid yet");
        else
                doctor_say(&e->doctor, to - now < (int64_t)(SOON_MS / 1000) ? DOCTOR_WARNING : DOCTOR_OK, "tls",
                           "get a new certificate; SIGHUP takes it without a restart", "the certificate is good for %lld days more",
                           (long long)((to - now) / 86400));
}

static void look_at_address(struct examination *e) {
        struct error err;
        int r = http_check_address(&e->settings.http, &err);
        if (r == -EADDRINUSE && e->is_served)
                SAY(e, OK, "listen", NULL, "%s is taken, and a server works on this database", e->settings.http.listen);
        else if (r < 0)
                SAY(e, WRONG, "listen", r == -EADDRINUSE ? "stop what listens there (ss -ltnp), or give another --listen"
                                                         : "give --listen ADDRESS:PORT with an address of this machine and a port that this user may use",
                    "%s", err.text);
        else
                SAY(e, OK, "listen", NULL, "%s is free", e->settings.http.listen);
}

/* --- the command ------------------------------------------------------------------------------------------- */

/* The server's own options, and --json. */
static void make_options(struct config_option ret[static OPTIONS_MAX]) {
        size_t n = 0;
        for (const struct config_option *o = settings_program.options; o->name && n < OPTIONS_MAX - 2; o++)
                if (strcmp(o->name, "dump-config") != 0 && strcmp(o->name, "check-config") != 0)
                        ret[n++] = *o;
        ret[n++] = (struct config_option){"json", CONFIG_FLAG, NULL, NULL, 0, 0, "print {\"ok\",\"checks\":[{\"check\",\"verdict\",\"detail\",\"remedy\"}]}", true};
        ret[n] = (struct config_option){0};
}

int command_doctor(int argc, char **argv) {
        struct config_option options[OPTIONS_MAX];
        make_options(options);
        const struct config_program program = {
                .name = "sweepd doctor",
                .usage = "[OPTION…]",
                .summary = "Looks at all that a server with these options would need: memory, disk, clock, database, tokens, certificate, address.\n"
                           "One line a check: ok, warning or wrong, and what to do. Changes nothing; the server may be running. Ends with 1 when\n"
                           "something is wrong.",
                .environment = "SWEEPD_",
                .options = options,
        };
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r < 0) {
                fprintf(stderr, "sweepd doctor: %s\n", err.text);
                return EXIT_USAGE;
        }
        log_set_level(LOG_ERROR);
        struct examination e = {.config = config, .database = config_text(config, "database")};
        doctor_init(&e.doctor);
        settings_find_files(config, &e.settings);
        settings_describe_http(config, 0, &e.settings);
        look_at_machine(&e);
        look_at_database(&e);
        look_at_certificate(&e);
        look_at_tokens(&e);
        look_at_webhooks(&e);
        look_at_clock(&e);
        look_at_address(&e);
        int code = doctor_finish(&e.doctor, config_flag(config, "json"));
        doctor_fini(&e.doctor);
        settings_fini(&e.settings);
        return code;
}
