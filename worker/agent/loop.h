/* The loop that net borrows: libuv's polls and one timer as a struct net_host. */
#pragma once
#include <uv.h>

#include "net/net.h"

struct loop_host {
        struct net_host host; /* to give to net_new */
        uv_loop_t *loop;
        uv_timer_t timer;
        struct net *net; /* set by the owner once it exists */
        struct loop_poll *polls;
};

void loop_host_init(struct loop_host *host, uv_loop_t *loop);
void loop_host_close(struct loop_host *host); /* after net_free; the handles close on the next turns of the loop */
