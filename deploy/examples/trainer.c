/* A program for sweeps with "trainer": "command": cc -O2 -o trainer trainer.c, sweep-worker --allow-command demo=/path/to/trainer,
 * and "program": "demo". Parameters come as --name=value; JSON lines on stdout tell how it goes; a non-zero end means it crashed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
        double x = 0, loss = 0;
        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], "--x=", 4) == 0)
                        x = strtod(argv[i] + 4, NULL);
        for (int step = 1; step <= 3; step++) {
                loss = (x - 0.3) * (x - 0.3) + 1.0 / step;
                printf("{\"event\":\"metric\",\"name\":\"loss\",\"step\":%d,\"value\":%.6f}\n", step, loss);
                fflush(stdout);
        }
        printf("{\"event\":\"outcome\",\"state\":\"completed\",\"value\":%.6f}\n", loss);
        return 0;
}
