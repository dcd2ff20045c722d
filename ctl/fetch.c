/* fetch-model: a kept model becomes a folder, whole or not at all, with every file held to its SHA-256. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "ctl.h"
#include "place.h"

#define FILES_MAX 64

/* ID is a sweep's (its best kept model) or a trial's. *ret: the model as the server tells of it. */
static int find_model(struct ctl *ctl, const char *id, json_t **ret, bool *ret_is_sweep) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0}, single = {0};
        struct error err;
        _cleanup_free_ char *sweep_path = ctl_path("sweeps", id, "/models"), *trial_path = sweep_path ? ctl_path("trials", id, "/model") : NULL;
        if (!trial_path)
                return EXIT_FAILED;
        if (client_request(ctl->client, "GET", sweep_path, NULL, false, &answer, &err) < 0)
                return ctl_fail(&err);
        *ret_is_sweep = answer.status == 200;
        json_t *first = json_array_get(json_object_get(answer.body, "items"), 0);
        if (answer.status == 200 && !first) {
                fprintf(stderr, "sweepctl: no model of this sweep is kept: none of its trials has ended, or their workers could not send any\n");
                return EXIT_FAILED;
        }
        if (answer.status == 200) {
                *ret = json_incref(first);
                return EXIT_FINE;
        }
        int code = ctl_call(ctl, "GET", trial_path, NULL, false, NULL, &single);
        if (code == EXIT_FINE)
                *ret = json_incref(single.body);
        return code;
}

/* The name is a file's and nothing else. */
static bool is_plain(const char *name) {
        return name && name[0] && name[0] != '.' && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(name);
}

static int fetch_file(struct ctl *ctl, const char *trial, const json_t *file, const char *folder, struct error *err) {
        const char *name = field_text(file, "name"), *sha256 = field_text(file, "sha256");
        if (!is_plain(name) || !sha256 || !json_is_integer(json_object_get(file, "bytes")))
                return error_set(err, -EBADMSG, "the server tells of a file that none can be");
        _cleanup_free_ char *path = fs_join(folder, name), *target = NULL;
        if (!path || asprintf(&target, "/v1/trials/%s/model/file?name=%s", trial, name) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
                return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
        char found[DIGEST_HEX_SIZE];
        int r = client_download(ctl->client, target, fd, (uint64_t)json_integer_value(json_object_get(file, "bytes")), found, err);
        if (r < 0)
                return r;
        if (strcmp(found, sha256) != 0)
                return error_set(err, -EBADMSG, "%s came damaged: its SHA-256 is %s instead of %s", name, found, sha256);
        return 0;
}

static int fetch_files(struct ctl *ctl, const json_t *model, const char *folder, struct error *err) {
        const json_t *files = json_object_get(model, "files");
        const char *trial = field_text(model, "trial");
        size_t i;
        json_t *file;
        if (!is_plain(trial) || json_array_size(files) == 0 || json_array_size(files) > FILES_MAX)
                return error_set(err, -EBADMSG, "the server tells of a model that none can be");
        json_array_foreach(files, i, file) {
                int r = fetch_file(ctl, trial, file, folder, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int fetch(struct ctl *ctl, const json_t *model, const char *target, struct error *err) {
        _cleanup_free_ char *place = NULL;
        int r = place_make(target, &place, err);
        if (r < 0)
                return r;
        r = fetch_files(ctl, model, place, err);
        if (r == 0)
                r = place_commit(place, target, err);
        if (r < 0)
                place_discard(place);
        return r;
}

/* The best trial's model may not be there yet, or never come. */
static void compare_with_best(struct ctl *ctl, const json_t *model) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct error err;
        const char *sweep = field_text(model, "sweep");
        _cleanup_free_ char *path = ctl_path("sweeps", sweep ? sweep : "", "");
        if (!path || client_request(ctl->client, "GET", path, NULL, false, &answer, &err) < 0 || answer.status != 200)
                return;
        json_t *best = json_object_get(answer.body, "best");
        const char *id = field_text(best, "id");
        if (id && strcmp(id, field_text(model, "trial")) != 0 && field_number(best, "value") != field_number(model, "value"))
                fprintf(stderr, "sweepctl: the best trial so far is number %.0f with %g; its model is not on the server\n", field_number(best, "number"),
                        field_number(best, "value"));
}

int command_fetch_model(struct ctl *ctl) {
        _cleanup_json_ json_t *model = NULL;
        struct error err;
        bool is_sweep = false;
        int code = find_model(ctl, ctl->args[0], &model, &is_sweep);
        if (code != EXIT_FINE)
                return code;
        if (fetch(ctl, model, ctl->args[1], &err) < 0)
                return ctl_fail(&err);
        if (is_sweep)
                compare_with_best(ctl, model);
        if (ctl->json)
                ctl_print_json(model);
        else
                printf("trial %.0f (%s), value %g: %zu files, %.1f MB, in %s\n", field_number(model, "number"), field_text(model, "trial"),
                       field_number(model, "value"), json_array_size(json_object_get(model, "files")), field_number(model, "bytes") / 1e6, ctl->args[1]);
        return EXIT_FINE;
}
