/* Four handles make one process: the process, stdin, stdout, stderr. It has ended when it was reaped and both outputs
 * are at their end; something that it started may hold an output open for ever, so the wait for that has a limit. The
 * memory is freed when the last handle has closed. */
#include "agent/process.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define OUTPUT_WAIT_MS 1000 /* for the outputs to end after the process did */

struct process {
        uv_process_t handle;
        uv_pipe_t input, output, errors;
        uv_timer_t patience;
        uv_write_t write;
        char *input_text; /* owned until written */
        struct buf line;
        bool line_too_long; /* skipping to its end */
        struct buf tail;
        struct process_events events;
        bool exited, output_ended, errors_ended;
        int exit_status, signal;
        unsigned n_open; /* handles that are not closed yet */
        char piece[65536]; /* one read at a time */
};

static void on_closed(uv_handle_t *handle) {
        struct process *process = handle->data;
        if (--process->n_open > 0)
                return;
        free(process->input_text);
        buf_fini(&process->line);
        buf_fini(&process->tail);
        free(process);
}

static void close_handle(uv_handle_t *handle) {
        if (!uv_is_closing(handle))
                uv_close(handle, on_closed);
}

static void close_all(struct process *process) {
        close_handle((uv_handle_t *)&process->input);
        close_handle((uv_handle_t *)&process->output);
        close_handle((uv_handle_t *)&process->errors);
        close_handle((uv_handle_t *)&process->patience);
        if (process->handle.loop) /* also when nothing was started: libuv wants what uv_spawn has seen closed */
                close_handle((uv_handle_t *)&process->handle);
}

static void take_line(struct process *process) {
        if (process->line_too_long)
                process->events.line(process->events.data, NULL, 0);
        else if (process->line.len > 0)
                process->events.line(process->events.data, process->line.data, process->line.len);
        process->line_too_long = false;
        buf_clear(&process->line);
}

static void take_output(struct process *process, const char *bytes, size_t n) {
        while (n > 0) {
                const char *newline = memchr(bytes, '\n', n);
                size_t len = newline ? (size_t)(newline - bytes) : n;
                if (buf_append(&process->line, bytes, len) < 0)
                        process->line_too_long = true;
                if (!newline)
                        return;
                take_line(process);
                bytes += len + 1;
                n -= len + 1;
        }
}

static void take_errors(struct process *process, const char *bytes, size_t n) {
        if (n > PROCESS_STDERR_BYTES_KEPT) {
                bytes += n - PROCESS_STDERR_BYTES_KEPT;
                n = PROCESS_STDERR_BYTES_KEPT;
        }
        if (process->tail.len + n > PROCESS_STDERR_BYTES_KEPT)
                buf_consume(&process->tail, process->tail.len + n - PROCESS_STDERR_BYTES_KEPT);
        buf_append(&process->tail, bytes, n);
        for (char *c = process->tail.data + process->tail.len - n; n > 0; n--, c++)
                *c = *c ? *c : '?'; /* it is read as a string */
}

static void end_if_over(struct process *process) {
        if (!process->exited || !process->output_ended || !process->errors_ended || uv_is_closing((uv_handle_t *)&process->handle))
                return;
        if (process->line.len > 0 || process->line_too_long)
                take_line(process);
        kill(-process->handle.pid, SIGKILL); /* what it started and left behind */
        close_all(process);
        struct process_end end = {process->exit_status, process->signal, process->tail.data ? process->tail.data : ""};
        process->events.end(process->events.data, &end);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret) {
        (void)suggested;
        struct process *process = handle->data;
        *ret = uv_buf_init(process->piece, sizeof process->piece);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
        struct process *process = stream->data;
        bool is_output = stream == (uv_stream_t *)&process->output;
        if (n > 0 && is_output)
                take_output(process, bytes->base, (size_t)n);
        else if (n > 0)
                take_errors(process, bytes->base, (size_t)n);
        if (n >= 0)
                return;
        uv_read_stop(stream);
        if (is_output)
                process->output_ended = true;
        else
                process->errors_ended = true;
        end_if_over(process);
}

static void on_patience_over(uv_timer_t *timer) {
        struct process *process = timer->data;
        process->output_ended = process->errors_ended = true;
        end_if_over(process);
}

static void on_exit_status(uv_process_t *handle, int64_t status, int signal) {
        struct process *process = handle->data;
        process->exited = true;
        process->exit_status = (int)status;
        process->signal = signal;
        uv_timer_start(&process->patience, on_patience_over, OUTPUT_WAIT_MS, 0);
        end_if_over(process);
}

static void on_written(uv_write_t *write, int status) {
        (void)status; /* it may have died, or not care */
        struct process *process = write->data;
        close_handle((uv_handle_t *)&process->input);
}

/* Real pipes, not the socket pairs that libuv makes: a program may open /dev/stderr, and a pipe tells it at once when
 * its reader is gone. *ret_theirs: the child's end, to be closed here after the start. */
static int open_pipe(uv_pipe_t *ours, bool we_write, int *ret_theirs) {
        uv_file ends[2]; /* to read from, to write to */
        int r = uv_pipe(ends, we_write ? 0 : UV_NONBLOCK_PIPE, we_write ? UV_NONBLOCK_PIPE : 0);
        if (r < 0)
                return r;
        *ret_theirs = ends[!we_write];
        r = uv_pipe_open(ours, ends[we_write]);
        if (r < 0)
                close(ends[we_write]);
        return r;
}

static void open_handles(struct process *process, uv_loop_t *loop) {
        uv_pipe_init(loop, &process->input, 0);
        uv_pipe_init(loop, &process->output, 0);
        uv_pipe_init(loop, &process->errors, 0);
        uv_timer_init(loop, &process->patience);
        process->input.data = process->output.data = process->errors.data = process->patience.data = process->handle.data = process;
        process->write.data = process;
        process->n_open = 4;
}

static int spawn(struct process *process, uv_loop_t *loop, const struct words *argv, const struct words *environment, const char *folder) {
        _cleanup_fd_ int input = -1, output = -1, errors = -1;
        int r = open_pipe(&process->input, true, &input);
        if (r == 0)
                r = open_pipe(&process->output, false, &output);
        if (r == 0)
                r = open_pipe(&process->errors, false, &errors);
        uv_stdio_container_t stdio[3] = {
                {.flags = UV_INHERIT_FD, .data.fd = input},
                {.flags = UV_INHERIT_FD, .data.fd = output},
                {.flags = UV_INHERIT_FD, .data.fd = errors},
        };
        uv_process_options_t options = {
                .file = argv->items[0],
                .args = argv->items,
                .env = environment->items,
                .cwd = folder,
                .exit_cb = on_exit_status,
                .flags = UV_PROCESS_DETACHED,
                .stdio = stdio,
                .stdio_count = 3,
        };
        if (r < 0)
                return r;
        process->n_open++;
        return uv_spawn(loop, &process->handle, &options);
}

int process_start(uv_loop_t *loop, const struct words *argv, const struct words *environment, const char *folder, char *input,
                  const struct process_events *events, struct process **ret, struct error *err) {
        struct process *process = calloc(1, sizeof *process);
        if (!process) {
                free(input);
                return error_set(err, -ENOMEM, "out of memory");
        }
        process->input_text = input;
        process->events = *events;
        process->line = BUF_INIT(PROCESS_LINE_BYTES_MAX);
        process->tail = BUF_INIT(PROCESS_STDERR_BYTES_KEPT);
        open_handles(process, loop);
        int r = spawn(process, loop, argv, environment, folder);
        if (r < 0) {
                close_all(process);
                return error_set(err, r, "cannot start %s: %s", argv->items[0], uv_strerror(r));
        }
        uv_read_start((uv_stream_t *)&process->output, on_allocate, on_read);
        uv_read_start((uv_stream_t *)&process->errors, on_allocate, on_read);
        uv_buf_t text = uv_buf_init(input, (unsigned)strlen(input));
        if (uv_write(&process->write, (uv_stream_t *)&process->input, &text, 1, on_written) < 0)
                close_handle((uv_handle_t *)&process->input);
        *ret = process;
        return 0;
}

void process_signal(struct process *process, int signal) {
        if (!process->exited && kill(-process->handle.pid, signal) < 0)
                uv_process_kill(&process->handle, signal); /* it has no session of its own yet */
}
