#include "command.h"

#include <string.h>

#include "token_command.h"

static const struct command commands[] = {
        {"backup", command_backup},
        {"check", command_check},
        {"doctor", command_doctor},
        {"dump", command_dump},
        {"import-optuna", command_import_optuna},
        {"token", token_command},
};

const struct command *command_find(const char *name) {
        for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}
