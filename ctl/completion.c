/* `completion bash|zsh`: a script for the shell, made from the tables of commands and options, so that it cannot be out of date. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"

static void put_commands(const struct ctl_command *commands, size_t n) {
        for (size_t i = 0; i < n; i++)
                printf("%s%s", i ? " " : "", commands[i].name);
}

static void put_options(const struct config_option *options, const struct ctl_command *command) {
        for (const struct config_option *option = options; option->name; option++)
                if (ctl_takes_option(command, option->name))
                        printf(" --%s", option->name);
}

static void print_bash(const struct ctl_command *commands, size_t n, const struct config_option *options) {
        printf("# bash completion of sweepctl\n"
               "_sweepctl() {\n"
               "        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word\n"
               "        for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
               "                case $word in -*) ;; *) command=$word; break ;; esac\n"
               "        done\n"
               "        COMPREPLY=()\n"
               "        case $previous in\n"
               "        --token-file|--ca|--output|--model|--data) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
               "        --format) COMPREPLY=($(compgen -W 'csv json jsonl' -- \"$current\")); return ;;\n"
               "        --sort) COMPREPLY=($(compgen -W 'created value -value' -- \"$current\")); return ;;\n"
               "        esac\n"
               "        case $command in\n");
        printf("        '') COMPREPLY=($(compgen -W '");
        put_commands(commands, n);
        printf(" --help --version' -- \"$current\")) ;;\n");
        for (size_t i = 0; i < n; i++) {
                printf("        %s) COMPREPLY=($(compgen -W '", commands[i].name);
                put_options(options, &commands[i]);
                printf("' -- \"$current\")%s) ;;\n", strstr(commands[i].arguments, "FILE") ? " $(compgen -f -- \"$current\")" : "");
        }
        printf("        esac\n"
               "}\n"
               "complete -F _sweepctl sweepctl\n");
}

/* Help texts stand in single quotes, in which zsh knows no escapes. */
static void put_quoted(const char *text) {
        for (; *text; text++)
                fputs(*text == '\'' ? "'\\''" : *text == ':' ? "\\:" : *text == '[' || *text == ']' ? "" : (char[]){*text, 0}, stdout);
}

static void print_zsh(const struct ctl_command *commands, size_t n, const struct config_option *options) {
        printf("#compdef sweepctl\n"
               "_sweepctl() {\n"
               "        local -a commands\n"
               "        commands=(\n");
        for (size_t i = 0; i < n; i++) {
                printf("                '%s:", commands[i].name);
                put_quoted(commands[i].help);
                printf("'\n");
        }
        printf("        )\n"
               "        if (( CURRENT == 2 )); then\n"
               "                _describe command commands\n"
               "                return\n"
               "        fi\n"
               "        case $words[2] in\n");
        for (size_t i = 0; i < n; i++) {
                printf("        %s) _arguments", commands[i].name);
                for (const struct config_option *option = options; option->name; option++)
                        if (ctl_takes_option(&commands[i], option->name)) {
                                printf(" '--%s[", option->name);
                                put_quoted(option->help);
                                printf("]%s'", option->argument ? ":value:_files" : "");
                        }
                printf("%s ;;\n", strstr(commands[i].arguments, "FILE") ? " '*:file:_files'" : "");
        }
        printf("        esac\n"
               "}\n"
               "_sweepctl \"$@\"\n");
}

int print_completion(const char *shell, const struct ctl_command *commands, size_t n, const struct config_option *options) {
        if (strcmp(shell, "bash") == 0)
                print_bash(commands, n, options);
        else if (strcmp(shell, "zsh") == 0)
                print_zsh(commands, n, options);
        else {
                fprintf(stderr, "sweepctl: completion is for bash or zsh, not '%s'\n", shell);
                return EXIT_USAGE;
        }
        return EXIT_FINE;
}
