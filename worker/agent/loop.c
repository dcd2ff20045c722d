#include "agent/loop.h"

#include <stdlib.h>

struct loop_poll {
        uv_poll_t handle;
        struct loop_host *host;
        int socket;
        struct loop_poll *next;
};

static void on_poll(uv_poll_t *handle, int status, int events) {
        struct loop_poll *poll = handle->data;
        unsigned seen = (events & UV_READABLE ? NET_READ : 0) | (events & UV_WRITABLE ? NET_WRITE : 0);
        net_socket_ready(poll->host->net, poll->socket, status < 0 ? NET_READ | NET_WRITE : seen); /* curl finds the error itself */
}

static void on_poll_closed(uv_handle_t *handle) {
        free(handle->data);
}

static void drop_poll(struct loop_host *host, struct loop_poll *poll) {
        struct loop_poll **link = &host->polls;
        while (*link != poll)
                link = &(*link)->next;
        *link = poll->next;
        uv_poll_stop(&poll->handle);
        uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
}

static struct loop_poll *add_poll(struct loop_host *host, int socket) {
        struct loop_poll *poll = calloc(1, sizeof *poll);
        if (!poll || uv_poll_init_socket(host->loop, &poll->handle, socket) < 0) {
                free(poll);
                return NULL; /* the request ends by its timeout */
        }
        poll->handle.data = poll;
        poll->host = host;
        poll->socket = socket;
        poll->next = host->polls;
        host->polls = poll;
        return poll;
}

static void watch(void *data, int socket, unsigned events) {
        struct loop_host *host = data;
        struct loop_poll *poll = host->polls;
        while (poll && poll->socket != socket)
                poll = poll->next;
        if (events == 0) {
                if (poll)
                        drop_poll(host, poll);
                return;
        }
        if (!poll)
                poll = add_poll(host, socket);
        if (poll)
                uv_poll_start(&poll->handle, (events & NET_READ ? UV_READABLE : 0) | (events & NET_WRITE ? UV_WRITABLE : 0), on_poll);
}

static void on_timer(uv_timer_t *timer) {
        struct loop_host *host = timer->data;
        net_timer_fired(host->net);
}

static void arm(void *data, long after_ms) {
        struct loop_host *host = data;
        if (after_ms < 0)
                uv_timer_stop(&host->timer);
        else
                uv_timer_start(&host->timer, on_timer, (uint64_t)after_ms, 0);
}

void loop_host_init(struct loop_host *host, uv_loop_t *loop) {
        *host = (struct loop_host){.host = {.data = host, .watch = watch, .arm = arm}, .loop = loop};
        uv_timer_init(loop, &host->timer);
        host->timer.data = host;
}

void loop_host_close(struct loop_host *host) {
        while (host->polls)
                drop_poll(host, host->polls);
        uv_close((uv_handle_t *)&host->timer, NULL);
}
