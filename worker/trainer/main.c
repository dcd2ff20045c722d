/* sweep-trainer: one training, or one of its tools, per process. Whatever happens to it (out of memory, NaN, a kill)
 * ends one trial, never the worker that started it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gnu/libc-version.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/digest.h"
#include "common/log.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "train/train.h"
#include "trainer/bench.h"
#include "trainer/doctor.h"
#include "trainer/evaluate.h"
#include "trainer/predict.h"
#include "trainer/selftest.h"
#include "trainer/tokenize.h"

static volatile sig_atomic_t stop_requested;

static const struct config_option options[] = {{0}};

static const struct config_program program = {
        .name = "sweep-trainer",
        .usage = "[tokenize|predict|evaluate|bench|doctor|selftest] [OPTION…]",
        .summary = "Without a word: one training, as the JSON object on standard input says; metrics and outcome as JSON\n"
                   "lines on standard output. SIGTERM: checkpoint, release, exit 0.\n"
                   "  tokenize  sentence pairs to token ids\n"
                   "  predict   sentence pairs to labels, by a finished model\n"
                   "  evaluate  score of a finished model on labelled rows\n"
                   "  bench     how fast a training step is on this machine\n"
                   "  doctor    what a training here would find: BLAS, threads, model, data\n"
                   "  selftest  numbers of a small fixed training, which sweep-worker compares\n"
                   "Each has its own --help.",
        .options = options,
};

static const struct {
        const char *name;
        int (*main)(int argc, char **argv);
} commands[] = {
        {"tokenize", tokenize_main},
        {"predict", predict_main},
        {"evaluate", evaluate_main},
        {"bench", bench_main},
        {"doctor", doctor_main},
        {"selftest", selftest_main},
};

static void request_stop(int signal) {
        (void)signal;
        stop_requested = 1;
}

static void mask_stop(int how) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(how, &set, NULL);
}

/* Without SA_RESTART: a read or a wait that blocks returns, and the flag is seen. */
static void catch_signals(void) {
        struct sigaction action = {.sa_handler = request_stop};
        sigemptyset(&action.sa_mask);
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(), not the end of the process */
        mask_stop(SIG_UNBLOCK);
}

/* 0 · -EINTR when asked to stop · -EFBIG · other. */
static int read_input(struct buf *input) {
        char piece[16384];
        for (;;) {
                if (stop_requested)
                        return -EINTR;
                ssize_t n = read(STDIN_FILENO, piece, sizeof piece);
                if (n < 0 && errno != EINTR)
                        return -errno;
                int r = n > 0 ? buf_append(input, piece, (size_t)n) : 0;
                if (r < 0 || n == 0)
                        return r;
        }
}

/* This program's bytes and the C library. */
static void describe_program(char *ret, size_t size) {
        char self[DIGEST_HEX_SIZE] = "unknown";
        struct error err = {0};
        if (digest_file("/proc/self/exe", self, &err) < 0)
                log_warning("cannot read this program's own file", log_s("detail", err.text));
        snprintf(ret, size, "%s %s, glibc %s", SWEEPD_VERSION, self, gnu_get_libc_version());
}

static void train(struct events *events, struct outcome *ret) {
        _cleanup_buf_ struct buf input = BUF_INIT(JOB_MAX_BYTES);
        struct error err = {0};
        struct job job = {0};
        char self[512];
        int r = read_input(&input);
        if (r == -EINTR) {
                *ret = (struct outcome){.state = OUTCOME_RELEASED};
                return;
        }
        if (r < 0)
                error_set(&err, r, "cannot read the configuration from standard input: %s", strerror(-r));
        else
                r = job_read(input.data ? input.data : "", input.len, &job, &err);
        if (r < 0) {
                *ret = (struct outcome){.state = OUTCOME_FAILED, .reason = r == -ENOMEM ? "out_of_memory" : "bad_config"};
                snprintf(ret->detail, sizeof ret->detail, "%s", err.text);
                return;
        }
        log_info("sweep-trainer", log_s("version", SWEEPD_VERSION), log_s("blas", gemm_library()), log_s("core", gemm_core()),
                 log_s("kernels", kernels_best()->name), log_i("threads", job.threads));
        describe_program(self, sizeof self);
        const struct train_build build = {self, gemm_library(), gemm_core(), kernels_best()->name};
        train_run(&job, &build, events, &stop_requested, ret);
        job_fini(&job);
}

static int train_main(void) {
        struct events *events;
        struct outcome outcome = {0};
        catch_signals();
        if (events_new(STDOUT_FILENO, &stop_requested, &events) < 0)
                return EXIT_FAILURE;
        train(events, &outcome);
        if (outcome.state == OUTCOME_FAILED)
                log_error("training failed", log_s("reason", outcome.reason), log_s("detail", outcome.detail));
        int r = events_send_outcome(events, &outcome);
        if (r < 0)
                log_error("the outcome could not be told", log_s("error", strerror(-r)));
        events_free(events);
        return r < 0 || outcome.state == OUTCOME_FAILED ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Threads that wait for each other spin only briefly before they sleep. By default libgomp spins for milliseconds, so
 * that on a machine with other work each barrier costs a time slice: a small model trained 100 times slower. The setting
 * is read before main() starts, hence the second start of the same program. */
static void wait_politely(char **argv) {
        char self[4096];
        ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
        if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || len <= 0)
                return;
        self[len] = 0;
        mask_stop(SIG_BLOCK); /* a request to stop that comes meanwhile is kept until it can be obeyed */
        if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
                execv(self, argv);
}

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

int main(int argc, char **argv) {
        wait_politely(argv);
        for (size_t i = 0; i < sizeof commands / sizeof *commands && argc > 1; i++) {
                if (strcmp(argv[1], commands[i].name) == 0) {
                        mask_stop(SIG_UNBLOCK);
                        return commands[i].main(argc - 1, argv + 1);
                }
        }
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", program.name, err.text);
                return 2;
        }
        return train_main();
}
