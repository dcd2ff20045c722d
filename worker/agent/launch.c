#include "agent/launch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int launch_exec(int argc, char **argv) {
        if (argc < 4)
                return 2;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if ((long)getppid() != strtol(argv[2], NULL, 10))
                return 127; /* the worker died before the wish was made */
        execv(argv[3], argv + 3);
        fprintf(stderr, "cannot run %s: %s\n", argv[3], strerror(errno));
        return 127;
}
