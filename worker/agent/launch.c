#include "agent/launch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void set_limit(int resource, unsigned long long megabytes) {
        const struct rlimit limit = {megabytes << 20, megabytes << 20};
        if (megabytes > 0 && setrlimit(resource, &limit) < 0) {
                fprintf(stderr, "cannot limit the program: %s\n", strerror(errno));
                exit(127);
        }
}

static void confine(const char *limits) {
        char *end;
        unsigned long long memory_mb = strtoull(limits, &end, 10), file_mb = *end ? strtoull(end + 1, NULL, 10) : 0;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        set_limit(RLIMIT_DATA, memory_mb);
        set_limit(RLIMIT_FSIZE, file_mb);
}

int launch_exec(int argc, char **argv) {
        if (argc < 4)
                return 2;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if ((long)getppid() != strtol(argv[2], NULL, 10))
                return 127; /* the worker died before the wish was made */
        char **program = argv + 3;
        if (strncmp(*program, LAUNCH_LIMITS, strlen(LAUNCH_LIMITS)) == 0) {
                confine(*program + strlen(LAUNCH_LIMITS));
                program++;
        }
        if (!*program)
                return 2;
        close_range(3, ~0U, 0); /* libcurl's inner sockets have no close-on-exec flag */
        execv(*program, program);
        fprintf(stderr, "cannot run %s: %s\n", *program, strerror(errno));
        return 127;
}
