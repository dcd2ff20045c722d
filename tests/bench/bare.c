/* What the coordinator is built on, without the coordinator, for comparison in the same run:
 *
 *     bare http                       libmicrohttpd as sweepd sets it up, answering every request with a few bytes; prints its
 *                                     port and ends with its standard input
 *     bare durable FILE               the same, but each answer waits for the commit of a row of its own: a second thread commits all
 *                                     that has come together, as sweepd's core thread does
 *     bare sqlite FILE SECONDS GROUP  commits with synchronous=FULL, each of GROUP rows; prints rows a second */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS_MAX 4096

/* What load_client reads of a claim, and of a report. */
static const char text[] = "{\"id\":\"t\",\"lease\":\"l\",\"command\":\"continue\"}";

static sqlite3 *db;
static sqlite3_stmt *insert;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct MHD_Connection *waiting[REQUESTS_MAX]; /* guarded by lock */
static size_t n_waiting;

static int open_database(const char *path) {
        return sqlite3_open(path, &db) == SQLITE_OK &&
                               sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8192; "
                                                "CREATE TABLE points (trial INTEGER, step INTEGER, value REAL)", NULL, NULL, NULL) == SQLITE_OK &&
                               sqlite3_prepare_v2(db, "INSERT INTO points VALUES (?1, ?2, ?3)", -1, &insert, NULL) == SQLITE_OK
                       ? 0
                       : -1;
}

static int commit_rows(size_t n) {
        static long row;
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
        for (size_t i = 0; i < n; i++) {
                sqlite3_bind_int64(insert, 1, (sqlite3_int64)i);
                sqlite3_bind_int64(insert, 2, row++);
                sqlite3_bind_double(insert, 3, 0.5);
                sqlite3_step(insert);
                sqlite3_reset(insert);
        }
        return sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static void *commit_all(void *unused) {
        (void)unused;
        static struct MHD_Connection *mine[REQUESTS_MAX];
        for (;;) {
                pthread_mutex_lock(&lock);
                while (n_waiting == 0)
                        pthread_cond_wait(&changed, &lock);
                size_t n = n_waiting;
                memcpy(mine, waiting, n * sizeof *mine);
                n_waiting = 0;
                pthread_mutex_unlock(&lock);
                if (commit_rows(n) < 0)
                        exit(1);
                for (size_t i = 0; i < n; i++)
                        MHD_resume_connection(mine[i]);
        }
        return NULL;
}

/* state: not begun, &answer: headers are there, &lock: its commit is awaited */
static enum MHD_Result answer(void *is_durable, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **state) {
        (void)url, (void)method, (void)version, (void)upload;
        if (!*state || *upload_size > 0) {
                *state = &answer;
                *upload_size = 0;
                return MHD_YES;
        }
        if (is_durable && *state == &answer) {
                *state = &lock;
                MHD_suspend_connection(connection);
                pthread_mutex_lock(&lock);
                if (n_waiting == REQUESTS_MAX)
                        exit(1);
                waiting[n_waiting++] = connection;
                pthread_cond_signal(&changed);
                pthread_mutex_unlock(&lock);
                return MHD_YES;
        }
        struct MHD_Response *response = MHD_create_response_from_buffer(sizeof text - 1, (void *)text, MHD_RESPMEM_PERSISTENT);
        enum MHD_Result r = MHD_queue_response(connection, 200, response);
        MHD_destroy_response(response);
        return r;
}

static int serve(const char *path) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        pthread_t thread;
        if (path && (open_database(path) < 0 || pthread_create(&thread, NULL, commit_all, NULL) != 0))
                return 1;
        struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, answer, (void *)path,
                                                     MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)REQUESTS_MAX, MHD_OPTION_END);
        if (!daemon)
                return 1;
        printf("%d\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
        fflush(stdout);
        getchar();
        _exit(0); /* with connections that wait */
}

static double now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int commit(const char *path, double seconds, int group) {
        if (open_database(path) < 0)
                return 1;
        double begin = now_s();
        long n = 0;
        for (; now_s() - begin < seconds; n += group)
                if (commit_rows((size_t)group) < 0)
                        return 1;
        printf("%.0f\n", (double)n / (now_s() - begin));
        sqlite3_finalize(insert);
        sqlite3_close(db);
        return 0;
}

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "http") == 0)
                return serve(NULL);
        if (argc == 3 && strcmp(argv[1], "durable") == 0)
                return serve(argv[2]);
        if (argc == 5 && strcmp(argv[1], "sqlite") == 0)
                return commit(argv[2], strtod(argv[3], NULL), (int)strtol(argv[4], NULL, 10));
        fprintf(stderr, "usage: bare http | bare durable FILE | bare sqlite FILE SECONDS GROUP\n");
        return 2;
}
