/* Subcommands: `sweepd backup …`. Each has a table of options and ends with an exit code. */
#pragma once

struct command {
        const char *name;
        int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

/* NULL when there is no such command. */
const struct command *command_find(const char *name);

#define EXIT_USAGE 2

/* upkeep.c */
int command_backup(int argc, char **argv);
int command_check(int argc, char **argv);
int command_dump(int argc, char **argv);

/* doctor.c */
int command_doctor(int argc, char **argv);

/* import_command.c */
int command_import_optuna(int argc, char **argv);
