/* sim [OPTION…]: simulated histories of a coordinator, one a seed.
 *
 *   --seed N       the first seed (1)          --seeds N     how many (1)
 *   --steps N      events of one (1500)        --crashes N   go on until so many crashes were simulated
 *   --without A,B  hazards to leave out        --workers N   instead of the seed's own number
 *   --crash-rate X factor on the crashes (1)   --shrink      make a failing history as short as it still fails
 *   --defect NAME  break the coordinator on purpose: it must be found, or the program fails
 *   --self-test    the same for every defect   --verbose     tell the history (twice: with the coordinator's log)
 *
 * Ends with 0 when nothing was found, 1 with the seed and the command to see it again. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define SELF_TEST_SEEDS 60

static const char *const hazard_names[N_HAZARDS] = {
#define X(id, name) [id] = name,
        HAZARDS(X)
#undef X
};
static const char *const defect_names[N_DEFECTS] = {
#define X(id, name) [id] = name,
        DEFECTS(X)
#undef X
};

static int name_index(const char *const *names, int n, const char *name) {
        for (int i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        fprintf(stderr, "sim: unknown name '%s'\n", name);
        exit(2);
}

static void add(struct sim_result *total, const struct sim_result *one) {
        total->steps += one->steps;
        total->turns += one->turns;
        total->crashes += one->crashes;
        total->power_cuts += one->power_cuts;
        total->restarts += one->restarts;
        total->acknowledged += one->acknowledged;
        total->trials += one->trials;
        total->faults += one->faults;
        total->starved += one->starved;
        total->proposals += one->proposals;
        total->copies += one->copies;
        total->copies_crossed += one->copies_crossed;
        total->copies_crashed += one->copies_crashed;
        total->lost_syncs += one->lost_syncs;
}

static void print_command(const struct sim_options *options) {
        printf("again: sim --seed %llu --steps %llu --crash-rate %g", (unsigned long long)options->seed, (unsigned long long)options->steps,
               options->crash_rate);
        if (options->workers)
                printf(" --workers %u", options->workers);
        if (options->defect)
                printf(" --defect %s", defect_names[options->defect]);
        const char *before = " --without ";
        for (int i = 0; i < N_HAZARDS; i++)
                if (!(options->hazards >> i & 1)) {
                        printf("%s%s", before, hazard_names[i]);
                        before = ",";
                }
        puts(" --verbose");
}

static bool still_fails(const struct sim_options *options, const char *kind) {
        struct sim_result result;
        sim_run(options, &result);
        return result.failed && result.kind == kind;
}

/* Fewer hazards, fewer workers, fewer steps, for as long as it fails in the same way. */
static void shrink(struct sim_options *options, const char *kind) {
        options->verbose = 0;
        for (bool smaller = true; smaller;) {
                smaller = false;
                for (int i = 0; i < N_HAZARDS; i++) {
                        struct sim_options less = *options;
                        less.hazards &= ~(1u << i);
                        if (less.hazards != options->hazards && still_fails(&less, kind)) {
                                *options = less;
                                smaller = true;
                        }
                }
                for (unsigned n = 1; n < 16 && (options->workers == 0 || n < options->workers); n *= 2) {
                        struct sim_options less = *options;
                        less.workers = n;
                        if (still_fails(&less, kind)) {
                                *options = less;
                                smaller = true;
                                break;
                        }
                }
                for (uint64_t cut = options->steps / 2; cut > 0; cut /= 2) {
                        struct sim_options less = *options;
                        less.steps -= cut;
                        if (still_fails(&less, kind)) {
                                *options = less;
                                smaller = true;
                        }
                }
        }
}

static int self_test(struct sim_options options) {
        int n_missed = 0;
        for (int defect = 1; defect < N_DEFECTS; defect++) {
                struct sim_result result = {0};
                options.defect = (enum defect)defect;
                uint64_t seed = options.seed;
                struct sim_options one = options;
                for (; !result.failed && seed < options.seed + SELF_TEST_SEEDS; seed++) {
                        one.seed = seed;
                        sim_run(&one, &result);
                }
                printf("%-16s %s %s\n", defect_names[defect], result.failed ? "found:" : "MISSED", result.complaint);
                n_missed += !result.failed;
        }
        return n_missed ? 1 : 0;
}

int main(int argc, char **argv) {
        static const struct option longs[] = {
                {"seed", required_argument, NULL, 's'},    {"seeds", required_argument, NULL, 'n'},   {"steps", required_argument, NULL, 't'},
                {"crashes", required_argument, NULL, 'c'}, {"without", required_argument, NULL, 'w'}, {"workers", required_argument, NULL, 'k'},
                {"shrink", no_argument, NULL, 'r'},        {"verbose", no_argument, NULL, 'v'},       {"defect", required_argument, NULL, 'd'},
                {"self-test", no_argument, NULL, 'x'},     {"crash-rate", required_argument, NULL, 'a'}, {0}};
        struct sim_options options = {.seed = 1, .steps = 1500, .hazards = HAZARDS_ALL, .crash_rate = 1};
        uint64_t n_seeds = 1, crashes = 0;
        bool shrinks = false, tests_itself = false;
        for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
                switch (c) {
                case 's': options.seed = strtoull(optarg, NULL, 10); break;
                case 'n': n_seeds = strtoull(optarg, NULL, 10); break;
                case 't': options.steps = strtoull(optarg, NULL, 10); break;
                case 'c': crashes = strtoull(optarg, NULL, 10); n_seeds = UINT64_MAX; break;
                case 'w':
                        for (char *name = strtok(optarg, ","); name; name = strtok(NULL, ","))
                                options.hazards &= ~(1u << name_index(hazard_names, N_HAZARDS, name));
                        break;
                case 'k': options.workers = (unsigned)strtoul(optarg, NULL, 10); break;
                case 'a': options.crash_rate = strtod(optarg, NULL); break;
                case 'd': options.defect = (enum defect)name_index(defect_names, N_DEFECTS, optarg); break;
                case 'r': shrinks = true; break;
                case 'v': options.verbose++; break;
                case 'x': tests_itself = true; break;
                default: return 2;
                }
        memory_init();
        if (tests_itself)
                return self_test(options);
        struct sim_result total = {0};
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        uint64_t first = options.seed;
        for (uint64_t i = 0; i < n_seeds && (crashes == 0 || total.crashes < crashes); i++) {
                struct sim_result one;
                options.seed = first + i;
                sim_run(&options, &one);
                add(&total, &one);
                if (!one.failed)
                        continue;
                printf("seed %llu: %s\n", (unsigned long long)options.seed, one.complaint);
                if (shrinks) {
                        shrink(&options, one.kind);
                        sim_run(&options, &one);
                        printf("shrunk: %s\n", one.complaint);
                }
                print_command(&options);
                return 1;
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
        printf("{\"seeds\": %llu, \"steps\": %llu, \"turns\": %llu, \"crashes\": %llu, \"power_cuts\": %llu, \"restarts\": %llu, \"disk_faults\": %llu, "
               "\"out_of_memory\": %llu, \"checkpoints\": %llu, \"crossed\": %llu, \"crashed_in\": %llu, \"unsynced\": %llu, \"acknowledged\": %llu, \"trials\": %llu, \"proposals_replayed\": %llu, \"seconds\": %.1f, \"crashes_a_minute\": %.0f}\n",
               (unsigned long long)(options.seed + 1 - first), (unsigned long long)total.steps, (unsigned long long)total.turns,
               (unsigned long long)total.crashes, (unsigned long long)total.power_cuts, (unsigned long long)total.restarts,
               (unsigned long long)total.faults, (unsigned long long)total.starved, (unsigned long long)total.copies,
               (unsigned long long)total.copies_crossed, (unsigned long long)total.copies_crashed, (unsigned long long)total.lost_syncs,
               (unsigned long long)total.acknowledged,
               (unsigned long long)total.trials, (unsigned long long)total.proposals, seconds, (double)total.crashes / seconds * 60);
        return 0;
}
