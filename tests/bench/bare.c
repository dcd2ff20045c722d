/* What the coordinator is built on, without the coordinator, for comparison in the same run:
 *
 *     bare http                       libmicrohttpd as sweepd sets it up, answering every request with a few bytes; prints its
 *                                     port and ends with its standard input
 *     bare sqlite FILE SECONDS GROUP  commits with synchronous=FULL, each of GROUP rows; prints rows a second */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **state) {
        static const char text[] = "{\"command\":\"continue\",\"lease_s\":60}";
        (void)cls, (void)url, (void)method, (void)version, (void)upload;
        if (!*state || *upload_size > 0) {
                *state = &answer;
                *upload_size = 0;
                return MHD_YES;
        }
        struct MHD_Response *response = MHD_create_response_from_buffer(sizeof text - 1, (void *)text, MHD_RESPMEM_PERSISTENT);
        enum MHD_Result r = MHD_queue_response(connection, 200, response);
        MHD_destroy_response(response);
        return r;
}

static int serve(void) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL, MHD_OPTION_SOCK_ADDR, &address,
                                                     MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_END);
        if (!daemon)
                return 1;
        printf("%d\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
        fflush(stdout);
        getchar();
        MHD_stop_daemon(daemon);
        return 0;
}

static double now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int commit(const char *path, double seconds, int group) {
        sqlite3 *db;
        sqlite3_stmt *insert;
        if (sqlite3_open(path, &db) != SQLITE_OK ||
            sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE points (trial INTEGER, step INTEGER, value REAL)", NULL,
                         NULL, NULL) != SQLITE_OK ||
            sqlite3_prepare_v2(db, "INSERT INTO points VALUES (?1, ?2, ?3)", -1, &insert, NULL) != SQLITE_OK)
                return 1;
        double begin = now_s();
        long n = 0;
        while (now_s() - begin < seconds) {
                sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
                for (int i = 0; i < group; i++, n++) {
                        sqlite3_bind_int64(insert, 1, i);
                        sqlite3_bind_int64(insert, 2, n);
                        sqlite3_bind_double(insert, 3, 0.5);
                        sqlite3_step(insert);
                        sqlite3_reset(insert);
                }
                if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
                        return 1;
        }
        printf("%.0f\n", (double)n / (now_s() - begin));
        sqlite3_finalize(insert);
        sqlite3_close(db);
        return 0;
}

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "http") == 0)
                return serve();
        if (argc == 5 && strcmp(argv[1], "sqlite") == 0)
                return commit(argv[2], strtod(argv[3], NULL), (int)strtol(argv[4], NULL, 10));
        fprintf(stderr, "usage: bare http | bare sqlite FILE SECONDS GROUP\n");
        return 2;
}
