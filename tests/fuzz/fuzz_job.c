/* What sweep-trainer reads on its standard input. */
#include "fuzz.h"
#include "train/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct job job;
        struct error err;
        if (job_read((const char *)data, size, &job, &err) < 0)
                return 0;
        fuzz_assert(job.threads >= 1 && job.threads <= JOB_MAX_THREADS);
        job_fini(&job);
        return 0;
}
