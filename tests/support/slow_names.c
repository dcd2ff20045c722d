/* LD_PRELOAD: a name server that does not answer. Names in slow.test are looked up for half a minute, in vain. */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret) {
        if (name && strstr(name, "slow.test")) {
                sleep(30);
                return EAI_AGAIN;
        }
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
        return real(name, service, hints, ret);
}
