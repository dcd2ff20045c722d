#include "common/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

void notify_service_manager(const char *state) {
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
                return;
        memcpy(address.sun_path, path, strlen(path));
        if (path[0] == '@') /* an abstract name starts with NUL */
                address.sun_path[0] = 0;
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
        (void)sent; /* nobody to tell is no reason to fail */
}

void notify_reloading(void) {
        struct timespec now;
        char text[64];
        clock_gettime(CLOCK_MONOTONIC, &now);
        snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
        notify_service_manager(text);
}

/* A whole positive number in the environment; 0 when it is none. */
static uint64_t read_number(const char *variable) {
        const char *text = getenv(variable);
        if (!text || !*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)
                return 0;
        return strtoull(text, NULL, 10);
}

static int is_for_us(const char *pid_variable) {
        return !getenv(pid_variable) || read_number(pid_variable) == (uint64_t)getpid();
}

uint64_t notify_watchdog_us(void) {
        return is_for_us("WATCHDOG_PID") ? read_number("WATCHDOG_USEC") : 0;
}

int notify_take_socket(int *ret_fd, struct error *err) {
        uint64_t n = getenv("LISTEN_PID") && is_for_us("LISTEN_PID") ? read_number("LISTEN_FDS") : 0;
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
        *ret_fd = 0;
        if (n == 0)
                return 0;
        if (n > 1)
                return error_set(err, -EINVAL, "the service manager gave %llu sockets: expected one", (unsigned long long)n);
        if (fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0)
                return error_set(err, -errno, "the service manager's socket: %s", strerror(errno));
        *ret_fd = FIRST_FD;
        return 0;
}
