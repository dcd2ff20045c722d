/* Model, data and BLAS are looked at by the program that would train (sweep-trainer doctor), the coordinator by two requests
 * that change nothing: /readyz, and a claim without a body, which is refused with 422 by one who may claim. */
#include "agent/doctor.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/division.h"
#include "agent/loop.h"
#include "agent/process.h"
#include "agent/registration.h"
#include "common/cleanup.h"
#include "common/doctor.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "common/world.h"
#include "net/net.h"
#include "net/token_file.h"

#define CALL_TIMEOUT_S 15.0
#define TRAINER_TIMEOUT_MS 120000
#define CLOCK_WARN_S 5
#define CLOCK_WRONG_S 300

struct examination {
        const struct agent_options *options;
        struct doctor doctor;
        uv_loop_t loop;
        struct loop_host host;
        struct net *net;
        bool is_answered, is_reached;
        bool is_over, is_told; /* the trainer's answer */
        bool has_token;
};

#define SAY(e, verdict, check, remedy, ...) doctor_say(&(e)->doctor, DOCTOR_##verdict, check, remedy, __VA_ARGS__)

/* --- the coordinator ---------------------------------------------------------------------------------------- */

static void look_at_clock(struct examination *e, int64_t date_s) {
        int64_t ahead = (int64_t)(world_wall_ms(world_real()) / 1000) - date_s, off = ahead < 0 ? -ahead : ahead;
        if (date_s == 0)
                SAY(e, WARNING, "clock", "a proxy in between may have taken the Date header away", "the coordinator does not tell its time");
        else if (off <= CLOCK_WARN_S)
                SAY(e, OK, "clock", NULL, "as the coordinator's, to %lld s", (long long)off);
        else
                doctor_say(&e->doctor, off > CLOCK_WRONG_S ? DOCTOR_WRONG : DOCTOR_WARNING, "clock", "set the clocks (timedatectl set-ntp true)",
                           "%lld s %s the coordinator's", (long long)off, ahead > 0 ? "ahead of" : "behind");
}

static void on_ready(void *data, const struct net_answer *answer) {
        struct examination *e = data;
        const char *url = e->options->coordinator;
        e->is_answered = true;
        if (answer->status == 0) {
                bool is_tls = strstr(net_why(answer), "ertificate") || strstr(net_why(answer), "SSL") || strstr(net_why(answer), "TLS");
                SAY(e, WRONG, "coordinator", is_tls ? "give the authority that signed its certificate as --ca FILE, and the name that stands in it as --coordinator"
                                                    : "is sweepd running there (systemctl status sweepd), is the address right, is a firewall in between?",
                    "%s: %s", url, net_why(answer));
                return;
        }
        e->is_reached = answer->status == 200 || answer->status == 503;
        if (answer->status == 200)
                SAY(e, OK, "coordinator", NULL, "%s is ready%s", url, strncmp(url, "https:", 6) == 0 ? ", its certificate is good" : "");
        else if (answer->status == 503)
                SAY(e, WARNING, "coordinator", "its log says why; workers wait until it is", "%s is not ready: %s", url, net_why(answer));
        else
                SAY(e, WRONG, "coordinator", "give the address of sweepd as --coordinator", "%s answers %d: no sweepd?", url, answer->status);
        if (e->is_reached)
                look_at_clock(e, answer->date_s);
}

static void on_claim(void *data, const struct net_answer *answer) {
        struct examination *e = data;
        static const char make[] = "sweepd token create --role worker --name NAME at the coordinator; the secret alone goes into --token-file, mode 0600";
        e->is_answered = true;
        if (answer->status == 400 || answer->status == 422)
                SAY(e, OK, "token", NULL, e->has_token ? "it may claim trials" : "none is needed");
        else if (answer->status == 401)
                SAY(e, WRONG, "token", make, e->has_token ? "the coordinator does not know it: wrong, expired or revoked" : "the coordinator wants one");
        else if (answer->status == 403)
                SAY(e, WRONG, "token", make, "it is good, but not a worker's: %s", net_why(answer));
        else if (answer->status == 429)
                SAY(e, WRONG, "token", "wait a minute, then look again", "too many wrong tokens came from this address");
        else
                SAY(e, WARNING, "token", "look again", "whether it is good is not known: %d %s", answer->status, net_why(answer));
}

static void call(struct examination *e, const char *method, const char *path, net_callback *callback) {
        struct net_request *request;
        _cleanup_json_ json_t *body = strcmp(method, "POST") == 0 ? json_object() : NULL;
        e->is_answered = false;
        if (net_send(e->net, method, path, body, CALL_TIMEOUT_S, callback, e, &request) < 0)
                return;
        while (!e->is_answered && uv_run(&e->loop, UV_RUN_ONCE) != 0)
                ;
}

static void look_at_coordinator(struct examination *e) {
        const struct agent_options *options = e->options;
        struct error err;
        char *token = NULL;
        if (options->token_file && token_file_read(options->token_file, &token, &err) < 0) {
                SAY(e, WRONG, "token", "the file holds the token alone, mode 0600", "%s", err.text);
                return;
        }
        e->has_token = token != NULL;
        struct net_options net_options = {
                .base_url = options->coordinator, .token = token, .ca_file = options->ca_file, .user_agent = "sweep-worker-doctor/" SWEEPD_VERSION};
        int r = options->ca_file && access(options->ca_file, R_OK) < 0 ? error_set(&err, -errno, "%s: %s", options->ca_file, strerror(errno)) : 0;
        if (r < 0)
                SAY(e, WRONG, "tls", "give a readable file of PEM certificates as --ca", "%s", err.text);
        else if ((r = net_new(&net_options, &e->host.host, &e->net, &err)) < 0)
                SAY(e, WRONG, "coordinator", "give http://HOST:PORT or https://HOST:PORT as --coordinator", "%s", err.text);
        e->host.net = e->net;
        token_free(token);
        if (r < 0)
                return;
        call(e, "GET", "/readyz", on_ready);
        if (e->is_reached)
                call(e, "POST", "/v1/claims", on_claim);
        if (strncmp(options->coordinator, "http:", 5) == 0 && e->has_token && !strstr(options->coordinator, "//127.") && !strstr(options->coordinator, "//localhost"))
                SAY(e, WARNING, "tls", "give the coordinator --tls-cert and --tls-key, and https:// here", "the token crosses the network as text");
}

/* --- this machine ------------------------------------------------------------------------------------------- */

/* The folder itself, or the nearest one above it that is there. */
static void find_existing(const char *path, char ret[static PATH_MAX]) {
        snprintf(ret, PATH_MAX, "%s", path);
        while (access(ret, F_OK) < 0) {
                char *slash = strrchr(ret, '/');
                if (!slash) {
                        snprintf(ret, PATH_MAX, ".");
                        return;
                }
                slash[slash == ret ? 1 : 0] = 0;
        }
}

static bool is_in_use(const char *work_dir) {
        _cleanup_free_ char *path = fs_join(work_dir, "lock");
        _cleanup_fd_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

static void look_at_folder(struct examination *e, const char *option, const char *path) {
        char place[PATH_MAX];
        uint64_t bytes, wanted = e->options->min_free_bytes;
        struct error err;
        find_existing(path, place);
        if (access(place, W_OK | X_OK) < 0)
                SAY(e, WRONG, "disk", "run this as the worker's user, or give that user the folder", "--%s %s: %s may not be written: %s", option, path, place, strerror(errno));
        else if (fs_free_bytes(place, &bytes, &err) < 0)
                SAY(e, WRONG, "disk", "give another folder", "--%s %s: %s", option, path, err.text);
        else
                doctor_say(&e->doctor, bytes < wanted ? DOCTOR_WRONG : bytes < 2 * wanted ? DOCTOR_WARNING : DOCTOR_OK, "disk",
                           "free some space, or give a smaller --min-free-mb: below it no trial is taken", "--%s %s: %llu MiB free, at least %llu needed", option, path,
                           (unsigned long long)(bytes >> 20), (unsigned long long)(wanted >> 20));
}

static void look_at_division(struct examination *e, const struct division *division) {
        const struct agent_options *options = e->options;
        unsigned cores = machine_cores();
        bool is_auto = options->slots == 0 || options->threads == 0;
        doctor_say(&e->doctor, division->slots * division->threads > cores ? DOCTOR_WARNING : DOCTOR_OK, "slots",
                   "give fewer --slots or --threads: trainings that share a core slow each other down", "%u of %u threads%s on %u cores, %llu MiB of memory", division->slots,
                   division->threads, is_auto ? " (a guess: the first start measures)" : "", cores, (unsigned long long)machine_memory_mib());
}

/* --- the trainer -------------------------------------------------------------------------------------------- */

static void on_line(void *data, const char *text, size_t len) {
        struct examination *e = data;
        _cleanup_json_ json_t *answer = NULL;
        if (text && json_read(text, len, &answer, NULL) == 0)
                e->is_told = doctor_take(&e->doctor, answer) || e->is_told;
}

static void on_end(void *data, const struct process_end *end) {
        struct examination *e = data;
        e->is_over = true;
        if (end->signal || end->exit_status > 1 || !e->is_told)
                SAY(e, WRONG, "trainer", "run it by hand to see why: sweep-trainer doctor", "%s ended with %s %d%s: %.300s", e->options->trainer_program,
                    end->signal ? "signal" : "status", end->signal ? end->signal : end->exit_status, e->is_told ? "" : " and told nothing", end->stderr_tail);
}

static void look_at_trainer(struct examination *e, unsigned threads) {
        _cleanup_words_ struct words argv = {0}, environment = {0};
        const struct agent_options *options = e->options;
        struct process_events events = {.data = e, .line = on_line, .end = on_end};
        struct process *process;
        struct error err = {0};
        const char *const words[] = {options->trainer_program, "doctor", "--json", "--model", options->model_dir, "--data", options->data_dir, "--threads"};
        int r = 0;
        for (size_t i = 0; i < sizeof words / sizeof *words && r == 0; i++)
                r = words_add(&argv, "%s", words[i]);
        if (r == 0)
                r = words_add(&argv, "%u", threads);
        if (r == 0)
                r = command_add_environment(&environment, threads);
        char *input = r == 0 ? strdup("") : NULL;
        if (r == 0)
                r = input ? process_start(&e->loop, &argv, &environment, "/", input, &events, &process, &err) : -ENOMEM;
        if (r < 0) {
                SAY(e, WRONG, "trainer", "install sweep-trainer beside sweep-worker, or name it with --trainer-program", "%s", err.text[0] ? err.text : strerror(-r));
                return;
        }
        uint64_t until_ms = world_mono_ms(world_real()) + TRAINER_TIMEOUT_MS;
        while (!e->is_over && uv_run(&e->loop, UV_RUN_NOWAIT) >= 0) {
                if (world_mono_ms(world_real()) > until_ms) {
                        until_ms = UINT64_MAX;
                        process_signal(process, SIGKILL);
                }
                usleep(10000);
        }
}

static void look_at_commands(struct examination *e) {
        for (size_t i = 0; i < e->options->n_commands; i++)
                SAY(e, OK, "command", NULL, "%s runs %s", e->options->commands[i].name, e->options->commands[i].path);
}

int agent_doctor(const struct agent_options *options, const struct error *fault, bool as_json) {
        struct examination e = {.options = options};
        struct division division;
        log_set_level(LOG_ERROR);
        if (uv_loop_init(&e.loop) < 0) {
                fprintf(stderr, "sweep-worker doctor: the event loop does not start\n");
                return EXIT_FAILURE;
        }
        loop_host_init(&e.host, &e.loop);
        doctor_init(&e.doctor);
        registration_guess(options, &division);
        look_at_coordinator(&e);
        look_at_folder(&e, "work-dir", options->work_dir);
        if (is_in_use(options->work_dir))
                SAY(&e, OK, "lock", NULL, "a worker is at work in %s", options->work_dir);
        if (options->checkpoint_dir)
                look_at_folder(&e, "checkpoint-dir", options->checkpoint_dir);
        look_at_division(&e, &division);
        if (fault->code < 0)
                SAY(&e, WRONG, "trainer", "give --model and --data as folders that are there; sweep-trainer lies beside sweep-worker", "%s", fault->text);
        else if (options->serves_distilbert)
                look_at_trainer(&e, division.threads);
        look_at_commands(&e);
        net_free(e.net);
        loop_host_close(&e.host);
        uv_run(&e.loop, UV_RUN_DEFAULT);
        uv_loop_close(&e.loop);
        int code = doctor_finish(&e.doctor, as_json);
        doctor_fini(&e.doctor);
        return code;
}
