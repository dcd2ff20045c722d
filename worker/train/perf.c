#include "train/perf.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/cleanup.h"

#define ENTRIES_MAX 256 /* looked at in one folder of /sys */

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)

static double busy_s(const struct rusage *usage) {
        return (double)usage->ru_utime.tv_sec + (double)usage->ru_stime.tv_sec + 1e-6 * (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

/* Milliseconds are too coarse for steps of a small model. */
static uint64_t now_us(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static double seconds(uint64_t from_us, uint64_t to_us) {
        return (double)(to_us > from_us ? to_us - from_us : 1) * 1e-6;
}

static void begin_stretch(struct perf *perf, const struct model *model) {
        struct rusage usage = {0};
        getrusage(RUSAGE_SELF, &usage);
        perf->began_us = now_us();
        perf->skipped_us = perf->steps = 0;
        perf->busy_s = busy_s(&usage);
        model_gemm_work(model, &perf->gemm_s, &perf->gemm_flops);
}

void perf_start(struct perf *perf, const struct model *model) {
        *perf = (struct perf){.tokens_since_us = now_us()};
        begin_stretch(perf, model);
}

double perf_age_s(const struct perf *perf) {
        return seconds(perf->began_us, now_us());
}

double perf_tokens_per_s(struct perf *perf) {
        uint64_t now = now_us();
        double rate = (double)perf->tokens / seconds(perf->tokens_since_us, now);
        perf->tokens = 0;
        perf->tokens_since_us = now;
        return rate;
}

void perf_take(struct perf *perf, const struct model *model, struct perf_figures *ret) {
        struct rusage usage = {0};
        double gemm_s, gemm_flops;
        uint64_t now = now_us();
        getrusage(RUSAGE_SELF, &usage);
        model_gemm_work(model, &gemm_s, &gemm_flops);
        gemm_s -= perf->gemm_s;
        *ret = (struct perf_figures){
                .step_s = seconds(perf->began_us + perf->skipped_us, now) / (double)(perf->steps ? perf->steps : 1),
                .gemm_gflops = gemm_s > 0 ? (gemm_flops - perf->gemm_flops) / gemm_s * 1e-9 : 0,
                .cores = (busy_s(&usage) - perf->busy_s) / seconds(perf->began_us, now),
                .memory_mib = (double)usage.ru_maxrss / 1024,
                .temperature_c = perf_temperature(""),
        };
        begin_stretch(perf, model);
}

/* --- sensors ------------------------------------------------------------------------------------------ */

static bool read_text(const char *folder, const char *name, char *ret, size_t size) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
                return false;
        _cleanup_file_ FILE *file = fopen(path, "re");
        return file && fgets(ret, (int)size, file);
}

static void take(const char *folder, const char *name, double *hottest) {
        char text[64], *end;
        if (!read_text(folder, name, text, sizeof text))
                return;
        double celsius = (double)strtol(text, &end, 10) / 1000;
        if (end != text && celsius > -50 && celsius < 150) /* a broken sensor says anything */
                *hottest = fmax(*hottest, celsius); /* fmax leaves NaN out */
}

static bool ends_with(const char *text, const char *end) {
        size_t n = strlen(text), m = strlen(end);
        return n >= m && strcmp(text + n - m, end) == 0;
}

/* Drivers of processors' own sensors. */
static bool measures_the_processor(const char *folder) {
        static const char *const drivers[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "scpi_sensors"};
        char name[64] = "";
        read_text(folder, "name", name, sizeof name);
        name[strcspn(name, "\n")] = 0;
        for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
                if (strcmp(name, drivers[i]) == 0)
                        return true;
        return false;
}

static void look_at_monitor(const char *folder, double *hottest) {
        _cleanup_(cleanup_dir) DIR *dir = measures_the_processor(folder) ? opendir(folder) : NULL;
        int n = 0;
        for (struct dirent *entry; dir && n < ENTRIES_MAX && (entry = readdir(dir)); n++)
                if (strncmp(entry->d_name, "temp", 4) == 0 && ends_with(entry->d_name, "_input"))
                        take(folder, entry->d_name, hottest);
}

static void look_at_zone(const char *folder, double *hottest) {
        take(folder, "temp", hottest);
}

static double hottest_under(const char *root, const char *class, const char *prefix, void (*look)(const char *folder, double *hottest)) {
        char path[PATH_MAX], entry_path[PATH_MAX];
        double hottest = NAN;
        int n = 0;
        if (snprintf(path, sizeof path, "%s/sys/class/%s", root, class) >= (int)sizeof path)
                return NAN;
        _cleanup_(cleanup_dir) DIR *dir = opendir(path);
        for (struct dirent *entry; dir && n < ENTRIES_MAX && (entry = readdir(dir)); n++)
                if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
                    snprintf(entry_path, sizeof entry_path, "%s/%s", path, entry->d_name) < (int)sizeof entry_path)
                        look(entry_path, &hottest);
        return hottest;
}

double perf_temperature(const char *root) {
        double processor = hottest_under(root, "hwmon", "hwmon", look_at_monitor);
        return isnan(processor) ? hottest_under(root, "thermal", "thermal_zone", look_at_zone) : processor;
}
