#pragma once

/* `sweep-trainer doctor`: what a training on this machine would find. Returns the exit status. */
int doctor_main(int argc, char **argv);
