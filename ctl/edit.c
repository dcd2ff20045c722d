/* Changing the spec of a sweep that is there, and the history of what was changed.
 *
 * What is sent is a merge patch: FILE is one as it stands; --set and the editor change a copy of the sweep's spec, and the
 * difference is sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "ctl.h"
#include "screen.h"
#include "sweeps.h"

/* --- the difference ------------------------------------------------------------------------------------ */

/* The merge patch that makes `after` of `before`; NULL without memory. */
static json_t *difference(const json_t *before, const json_t *after) {
        json_t *patch = json_object();
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)before, key, value)
                if (!json_object_get(after, key))
                        json_object_set_new(patch, key, json_null());
        json_object_foreach((json_t *)after, key, value) {
                const json_t *old = json_object_get(before, key);
                if (json_is_object(old) && json_is_object(value)) {
                        json_t *inner = difference(old, value);
                        if (json_object_size(inner) > 0)
                                json_object_set_new(patch, key, inner);
                        else
                                json_decref(inner);
                } else if (!old || !json_equal(old, value)) {
                        json_object_set(patch, key, value);
                }
        }
        return patch;
}

/* --- --set PATH=VALUE ----------------------------------------------------------------------------------- */

/* Member `key` (len bytes of it) of an object, or item of an array. */
static json_t *child_of(json_t *parent, const char *key, size_t len) {
        char *end;
        unsigned long index = strtoul(key, &end, 10);
        if (json_is_array(parent))
                return end == key + len && len > 0 ? json_array_get(parent, index) : NULL;
        return json_object_getn(parent, key, len);
}

static int put(json_t *parent, const char *key, json_t *value) {
        if (json_is_array(parent)) {
                char *end;
                unsigned long index = strtoul(key, &end, 10);
                if (end == key || *end || index >= json_array_size(parent)) {
                        json_decref(value);
                        return -1;
                }
                return json_array_set_new(parent, index, value);
        }
        if (json_is_null(value)) {
                json_decref(value);
                json_object_del(parent, key);
                return 0;
        }
        return json_object_set_new(parent, key, value);
}

/* "stages.1.run_cap": the longest names that are there first, as names may hold dots; objects on the way are made. Takes value. */
static int set_path(json_t *object, const char *path, json_t *value) {
        json_t *found = NULL;
        const char *rest = NULL;
        if (child_of(object, path, strlen(path)))
                return put(object, path, value);
        for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.')) {
                json_t *child = child_of(object, path, (size_t)(dot - path));
                if (json_is_object(child) || json_is_array(child)) {
                        found = child;
                        rest = dot + 1;
                }
        }
        if (found)
                return set_path(found, rest, value);
        const char *dot = strchr(path, '.');
        if (!dot)
                return put(object, path, value);
        if (!json_is_object(object) || json_object_getn(object, path, (size_t)(dot - path))) {
                json_decref(value); /* inside of what is no object */
                return -1;
        }
        json_t *made = json_object();
        if (json_object_setn_new(object, path, (size_t)(dot - path), made) < 0) {
                json_decref(value);
                return -1;
        }
        return set_path(made, dot + 1, value);
}

/* JSON where it is some, else text: 1e-4, [1,2], true, adam. */
static json_t *read_value(const char *text) {
        json_t *value = NULL;
        return json_read(text, strlen(text), &value, NULL) == 0 ? value : json_string(text);
}

static int apply_settings(const struct ctl *ctl, json_t *spec) {
        size_t n;
        const char *const *settings = config_list(ctl->config, "set", &n);
        for (size_t i = 0; i < n; i++) {
                const char *equals = strchr(settings[i], '=');
                _cleanup_free_ char *path = equals ? strndup(settings[i], (size_t)(equals - settings[i])) : NULL;
                if (!path || !*path) {
                        fprintf(stderr, "sweepctl: --set takes PATH=VALUE, not '%s'\n", settings[i]);
                        return EXIT_USAGE;
                }
                if (set_path(spec, path, read_value(equals + 1)) < 0) {
                        fprintf(stderr, "sweepctl: --set: there is no place '%s' in the spec\n", path);
                        return EXIT_FAILED;
                }
        }
        return EXIT_FINE;
}

/* --- the editor ------------------------------------------------------------------------------------------ */

/* JSON text with its lines broken for people; Jansson would write 5e-05 with seventeen digits. */
static void print_indented(const char *text, FILE *out) {
        int depth = 0;
        bool in_string = false;
        for (const char *c = text; *c; c++) {
                bool opens = !in_string && (*c == '{' || *c == '['), closes = !in_string && (*c == '}' || *c == ']');
                if (in_string && *c == '\\' && c[1])
                        fputc(*c++, out); /* what is escaped follows */
                else if (*c == '"')
                        in_string = !in_string;
                bool is_empty = (opens && (c[1] == '}' || c[1] == ']')) || (closes && (c[-1] == '{' || c[-1] == '['));
                depth += opens - closes;
                if (closes && !is_empty)
                        fprintf(out, "\n%*s", 2 * depth, "");
                fputc(*c, out);
                if ((opens && !is_empty) || (!in_string && *c == ','))
                        fprintf(out, "\n%*s", 2 * depth, "");
                if (!in_string && *c == ':')
                        fputc(' ', out);
        }
        fputc('\n', out);
}

static int run_editor(const char *editor, const char *path) {
        pid_t pid = fork();
        if (pid == 0) {
                execl("/bin/sh", "sh", "-c", "exec $0 \"$1\"", editor, path, (char *)NULL);
                _exit(127);
        }
        int status = -1;
        return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

#define WRITTEN "/tmp/sweepctl-XXXXXX.json"

/* Lets a person change the spec in a file of its own. New reference in *ret. ret_path: the file, "" where there is none any more. */
static int edit_by_hand(const json_t *spec, char ret_path[static sizeof WRITTEN], json_t **ret) {
        const char *editor = getenv("VISUAL") ? getenv("VISUAL") : getenv("EDITOR");
        char path[] = WRITTEN;
        struct error err;
        if (!editor || !*editor) {
                fprintf(stderr, "sweepctl: edit needs a FILE, --set PATH=VALUE, or an editor in $EDITOR\n");
                return EXIT_USAGE;
        }
        _cleanup_free_ char *text = json_text(spec);
        int fd = mkstemps(path, 5);
        FILE *file = fd >= 0 && text ? fdopen(fd, "w") : NULL;
        if (!file) {
                fprintf(stderr, "sweepctl: cannot write %s\n", path);
                return EXIT_FAILED;
        }
        print_indented(text, file);
        bool is_whole = !ferror(file);
        if (fclose(file) != 0 || !is_whole) {
                fprintf(stderr, "sweepctl: cannot write %s\n", path);
                unlink(path);
                return EXIT_FAILED;
        }
        if (run_editor(editor, path) < 0) {
                fprintf(stderr, "sweepctl: the editor '%s' failed\n", editor);
                unlink(path);
                return EXIT_FAILED;
        }
        __attribute__((cleanup(document_fini))) struct document document = {0};
        memcpy(ret_path, path, sizeof path);
        if (document_read(path, DOCUMENT_BYTES_MAX, &document, &err) < 0)
                return ctl_fail(&err);
        *ret = json_incref(document.value);
        return EXIT_FINE;
}

/* --- the commands ---------------------------------------------------------------------------------------- */

static int send_patch(struct ctl *ctl, const json_t *patch, const struct document *document) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_json_ json_t *body = json_pack("{s:O}", "spec", patch);
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "");
        int code = path && body ? ctl_call(ctl, "PATCH", path, body, false, document, &answer) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (ctl->json)
                ctl_print_json(answer.body);
        else
                printf("%s  %s  version %.0f of its spec\n", field_text(answer.body, "id"), field_text(answer.body, "state"),
                       field_number(answer.body, "spec_version"));
        return EXIT_FINE;
}

static int edit_spec(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        int code = get_sweep(ctl, ctl->args[0], "", &answer);
        if (code != EXIT_FINE)
                return code;
        const json_t *before = json_object_get(answer.body, "spec");
        _cleanup_json_ json_t *after = NULL, *patch = NULL;
        char written[sizeof WRITTEN] = "";
        if (config_is_set(ctl->config, "set")) {
                after = json_deep_copy(before);
                code = apply_settings(ctl, after);
        } else {
                code = edit_by_hand(before, written, &after);
        }
        if (code == EXIT_FINE) {
                patch = difference(before, after);
                if (json_object_size(patch) > 0)
                        code = send_patch(ctl, patch, NULL);
                else {
                        fprintf(stderr, "sweepctl: nothing is different\n");
                        if (ctl->json)
                                ctl_print_json(answer.body);
                }
        }
        if (code == EXIT_FINE && *written)
                unlink(written);
        else if (*written)
                fprintf(stderr, "sweepctl: what you wrote is kept in %s\n", written);
        return code;
}

int command_edit(struct ctl *ctl) {
        __attribute__((cleanup(document_fini))) struct document document = {0};
        struct error err;
        if (ctl->n_args < 2)
                return edit_spec(ctl);
        if (config_is_set(ctl->config, "set")) {
                fprintf(stderr, "sweepctl: edit takes a FILE or --set, not both\n");
                return EXIT_USAGE;
        }
        if (document_read(ctl->args[1], DOCUMENT_BYTES_MAX, &document, &err) < 0)
                return ctl_fail(&err);
        document.wrapped_in = "/spec";
        document_print_warnings(&document, stderr);
        return send_patch(ctl, document.value, &document);
}

int command_history(struct ctl *ctl) {
        _cleanup_json_ json_t *list = NULL;
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "/history");
        int code = path ? ctl_list(ctl, path, "", &list) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (ctl->json) {
                ctl_print_json(list);
                return EXIT_FINE;
        }
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(list, "items"), i, item) {
                const char *time = field_text(item, "time"), *who = field_text(item, "who"), *text = field_text(item, "text");
                screen_print(stdout, "%.19s  %-12s  after %.0f trials  %s\n", time ? time : "", !who ? "(sweepd)" : *who ? who : "-", field_number(item, "trials"),
                       text ? text : "");
        }
        return EXIT_FINE;
}
