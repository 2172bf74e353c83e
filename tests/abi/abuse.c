/* What a host can do wrong, from C: each case ends with exit code 0 when the library answered with the
 * right status. tests/abi/hosts.rs runs them, plain, under ASan and UBSan, and under valgrind.
 * The environment points at a simulator (SHARDWRIGHT_API_URL, DISCORD_TOKEN).
 *
 *   what                          here             in bindings/python/tests/test_abuse.py
 *   use after free, double free   handles          test_use_after_free
 *   free during a blocked poll    threads, stress  test_free_during_a_blocked_poll
 *   release after free, or twice  events           test_release_after_free
 *   two clients in one process    two              test_two_clients
 *   fork, then use                forked           test_fork (test_life.py)
 *   dlclose with live threads     dlclose.c        test_dlclose
 *   SIGPIPE, a vanished peer      vanished         test_vanished_peer
 *   signals in a blocked poll     signals          test_signals, test_ctrl_c_ends_at_once (test_life.py)
 *   a panic inside                panics.c         test_panic
 *   100,000 clients               cycles           test_cycles
 *   poll, stop and free racing    stress           test_free_during_a_blocked_poll
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shardwright.h"

#define CHECK(condition) check((condition), #condition, __LINE__)
#define THREADS 8

static const char CONFIG[] = "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\"], \"log\": {\"to\": \"none\"}}";

static void check(int holds, const char *condition, int line) {
    char why[512];
    if (holds)
        return;
    shard_last_error(why, sizeof why);
    fprintf(stderr, "line %d: %s does not hold; last error: %s\n", line, condition, why);
    exit(1);
}

static shard_client *new_client(void) {
    shard_client *client = shard_client_new(CONFIG, strlen(CONFIG));
    CHECK(client != NULL);
    return client;
}

static shard_client *ready_client(void) {
    shard_client *client = new_client();
    CHECK(shard_client_start(client) == SHARD_OK);
    CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);
    return client;
}

static int has_error(const char *part) {
    char why[512];
    shard_last_error(why, sizeof why);
    return strstr(why, part) != NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The status of a command's reply; its data is left in `text`. */
static int reply_of(shard_client *client, const char *command, char *text, size_t cap) {
    shard_event event;
    uint64_t id;
    CHECK(send_command(client, command, strlen(command), &id) == SHARD_OK);
    for (;;) {
        CHECK(poll_event(client, &event, 60000) == 1);
        int status = event.status, is_it = event.kind == SHARD_EVENT_REPLY && event.command_id == id;
        snprintf(text, cap, "%.*s", (int)event.data_len, (const char *)event.data);
        shard_event_release(&event);
        if (is_it)
            return status;
    }
}

/* Wrong arguments everywhere are statuses with a text. */
static void arguments(void) {
    shard_client *client = new_client();
    shard_event event = {0};
    const char *text;
    size_t len;
    char buf[8];
    uint64_t id;

    CHECK(shard_abi_version() == SHARD_ABI_VERSION);
    CHECK(strncmp(shard_version(), "shardwright/", 12) == 0);
    CHECK(strcmp(shard_status_name(SHARD_E_FORKED), "SHARD_E_FORKED") == 0);
    CHECK(strcmp(shard_status_name(12345), "unknown status") == 0);
    CHECK(shard_for_guild(UINT64_MAX, 16) == 15 && shard_for_guild(1, 0) == SHARD_NONE);

    CHECK(shard_client_new(NULL, 7) == NULL && shard_last_status() == SHARD_E_INVALID_ARG);
    CHECK(shard_client_new(NULL, 0) == NULL && shard_last_status() == SHARD_E_INVALID_CONFIG);
    CHECK(shard_client_new("\xff", 1) == NULL && has_error("UTF-8"));
    CHECK(shard_client_new("{}", 2) == NULL && has_error("`intents`"));
    CHECK(shard_client_new(CONFIG, SIZE_MAX) == NULL && shard_last_status() == SHARD_E_INVALID_ARG);

    CHECK(poll_event(client, NULL, 0) == SHARD_E_INVALID_ARG);
    CHECK(shard_client_poll_events(client, &event, 0, 0) == SHARD_E_INVALID_ARG);
    CHECK(poll_event(client, &event, 0) == 0);
    CHECK(send_command(client, "{}", 2, &id) == SHARD_E_INVALID_ARG && has_error("`type`"));
    CHECK(send_command(client, NULL, 9, NULL) == SHARD_E_INVALID_ARG);
    CHECK(send_command(client, "{\"type\":\"gateway_info\"}", 23, NULL) == SHARD_E_STATE);
    CHECK(shard_client_wait_ready(client, 0) == SHARD_E_STATE);
    CHECK(shard_client_stop(client, 99, 0) == SHARD_E_INVALID_ARG);
    CHECK(shard_client_cancel(client, 1) == SHARD_E_NOT_FOUND);
    CHECK(shard_set_log_callback(NULL, NULL, 6) == SHARD_E_INVALID_ARG);
    CHECK(shard_client_status_json(client, buf, sizeof buf, NULL) == SHARD_E_INVALID_ARG);
    CHECK(shard_client_status_json(client, buf, sizeof buf, &len) == SHARD_E_BUFFER_TOO_SMALL);
    CHECK(len > sizeof buf);
    char *status = malloc(len + 1);
    CHECK(shard_client_status_json(client, status, len + 1, &len) == SHARD_OK);
    CHECK(strlen(status) == len && status[0] == '{');
    free(status);
    CHECK(shard_client_metrics_text(client, NULL, 0, &len) == SHARD_E_BUFFER_TOO_SMALL && len > 0);
    CHECK(shard_client_healthy(client) == SHARD_E_STATE);
    CHECK(shard_event_get(NULL, "", 0, &text, &len) == SHARD_E_INVALID_ARG);
    CHECK(shard_event_get(&event, "", 0, &text, &len) == SHARD_E_INVALID_ARG);
    shard_event_release(NULL);
    shard_events_release(NULL, 3);
    shard_event_release(&event);

    size_t full = shard_last_error(NULL, 0);
    CHECK(full > sizeof buf && shard_last_error(buf, sizeof buf) == full);
    CHECK(strlen(buf) == sizeof buf - 1);
    shard_client_free(client);
}

/* Handles that were freed, never were, or are NULL are statuses. */
static void handles(void) {
    shard_event event;
    shard_client *stale[4];
    shard_client *never[] = {NULL, (shard_client *)&event, (shard_client *)(uintptr_t)0x5b,
                             (shard_client *)(uintptr_t)0xffffffffffffff5bu};
    stale[0] = ready_client();
    shard_client_free(stale[0]);
    shard_client_free(stale[0]);
    for (int i = 1; i < 4; i++) {
        stale[i] = new_client();
        shard_client_free(stale[i]);
    }
    for (int i = 0; i < 8; i++) {
        shard_client *client = i < 4 ? stale[i] : never[i - 4];
        shard_client_free(client);
        CHECK(poll_event(client, &event, -1) == SHARD_E_INVALID_HANDLE || shard_last_status() == SHARD_E_FORKED);
        CHECK(shard_client_start(client) < 0 && shard_client_stop(client, 0, -1) < 0);
        CHECK(shard_client_wake(client) < 0 && shard_client_event_fd(client) < 0);
        CHECK(shard_client_healthy(client) < 0 && shard_client_wait_ready(client, -1) < 0);
    }
    shard_client *fresh = new_client();
    CHECK(poll_event(stale[3], &event, 0) == SHARD_E_INVALID_HANDLE);
    CHECK(poll_event(fresh, &event, 0) == 0);
    shard_client_free(fresh);
}

/* Started twice, stopped twice, used after the stop. */
static void order(void) {
    shard_event event;
    shard_client *client = ready_client();
    CHECK(shard_client_start(client) == SHARD_E_STATE);
    CHECK(shard_client_wait_ready(client, 0) == SHARD_OK && shard_client_healthy(client) == SHARD_OK);
    CHECK(shard_client_stop(client, SHARD_STOP_CLOSE, -1) == SHARD_OK);
    CHECK(shard_client_stop(client, SHARD_STOP_ABORT, -1) == SHARD_OK);
    CHECK(shard_client_start(client) == SHARD_E_STATE);
    CHECK(send_command(client, "{\"type\":\"gateway_info\"}", 23, NULL) == SHARD_E_CLOSED);
    CHECK(shard_client_healthy(client) == SHARD_E_CLOSED);
    int polled;
    while ((polled = poll_event(client, &event, -1)) == 1)
        shard_event_release(&event);
    CHECK(polled == SHARD_E_CLOSED);
    CHECK(poll_event(client, &event, -1) == SHARD_E_CLOSED);
    shard_client_free(client);
}

/* Events outlive their client, are released once, and give up their fields decoded. */
static void events(void) {
    enum { MANY = 64 };
    shard_event all[MANY], ready = {0};
    const char *text;
    size_t len;
    shard_client *client = ready_client();
    int count = shard_client_poll_events(client, all, MANY, 1000);
    CHECK(count > 0);
    for (int i = 0; i < count; i++)
        if (all[i].kind == SHARD_EVENT_DISPATCH && all[i].name_len == 5 && !memcmp(all[i].name, "READY", 5))
            ready = all[i];
    CHECK(ready.owner != NULL && ready.seq == 1 && ready.command_id == 0 && ready.status == 0);
    CHECK(ready.reserved[0] == 0 && ready.reserved[1] == 0 && ready.received_ns > 0);
    shard_client_free(client);

    CHECK(ready.data[0] == '{' && ready.data[ready.data_len - 1] == '}');
    CHECK(shard_event_get(&ready, "/v", 2, &text, &len) == SHARD_OK && len == 2 && !memcmp(text, "10", 2));
    CHECK(shard_event_get(&ready, "/session_id", 11, &text, &len) == SHARD_OK && text[0] != '"');
    CHECK(shard_event_get(&ready, "/shard/0", 8, &text, &len) == SHARD_OK && len == 1);
    CHECK(shard_event_get(&ready, "/nothing", 8, &text, &len) == SHARD_E_NOT_FOUND);
    CHECK(shard_event_get(&ready, "v", 1, &text, &len) == SHARD_E_NOT_FOUND);
    shard_events_release(all, (size_t)count);
    shard_events_release(all, (size_t)count);
    CHECK(all[0].owner == NULL && all[0].data == NULL && all[0].data_len == 0);
    CHECK(shard_event_get(&all[0], "", 0, &text, &len) == SHARD_E_INVALID_ARG);
}

static void *poll_for_ever(void *argument) {
    shard_event event;
    int polled;
    while ((polled = poll_event(argument, &event, -1)) >= 0)
        shard_event_release(&event);
    return (void *)(intptr_t)polled;
}

/* Eight threads sit in a poll while the client is stopped, or freed right away. */
static void threads(void) {
    for (int how = 0; how < 4; how++) {
        pthread_t pollers[THREADS];
        shard_client *client = how == 3 ? new_client() : ready_client();
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&pollers[i], NULL, poll_for_ever, client) == 0);
        if (how < 2)
            CHECK(shard_client_stop(client, how == 0 ? SHARD_STOP_CLOSE : SHARD_STOP_ABORT, -1) == SHARD_OK);
        if (how >= 2)
            shard_client_free(client);
        for (int i = 0; i < THREADS; i++) {
            void *result;
            CHECK(pthread_join(pollers[i], &result) == 0);
            CHECK((intptr_t)result == SHARD_E_CLOSED || (intptr_t)result == SHARD_E_INVALID_HANDLE);
        }
        if (how < 2)
            shard_client_free(client);
    }
}

static void *wake_later(void *client) {
    struct timespec pause = {0, 50000000};
    nanosleep(&pause, NULL);
    CHECK(shard_client_wake(client) == SHARD_OK);
    return NULL;
}

/* A wake ends one poll, the one that waits or the next. */
static void wake(void) {
    shard_event event;
    pthread_t waker;
    shard_client *client = new_client();
    CHECK(shard_client_wake(client) == SHARD_OK);
    CHECK(poll_event(client, &event, -1) == 0);
    CHECK(pthread_create(&waker, NULL, wake_later, client) == 0);
    CHECK(poll_event(client, &event, -1) == 0);
    pthread_join(waker, NULL);
    CHECK(poll_event(client, &event, 1) == 0);
    shard_client_free(client);
}

static void on_alarm(int number) {
    (void)number;
}

static void interrupt_soon(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    timer_t timer;
    struct sigevent by_signal = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec soon = {.it_value = {0, 100000000}};
    CHECK(timer_create(CLOCK_MONOTONIC, &by_signal, &timer) == 0);
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
}

/* A signal handler ends every wait, so that Ctrl-C works in the host. */
static void signals(void) {
    shard_event event;
    shard_client *client = new_client();
    double before = seconds();
    interrupt_soon();
    CHECK(poll_event(client, &event, 60000) == SHARD_E_INTERRUPTED);
    CHECK(shard_client_start(client) == SHARD_OK);
    CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);
    while (poll_event(client, &event, 500) == 1)
        shard_event_release(&event);
    interrupt_soon();
    CHECK(poll_event(client, &event, 60000) == SHARD_E_INTERRUPTED);
    CHECK(seconds() - before < 50);
    shard_client_free(client);
}

/* A forked child cannot use what it inherited, can make its own, and leaves the parent's alone; also the file of its
 * parent's sessions, whose locks SQLite would take for the child's. */
static void forked(void) {
    static const char put[] = "{\"type\":\"store_put\",\"collection\":\"c\",\"key\":\"k\",\"value\":1}";
    static char text[65536];
    size_t len;
    shard_event event, held;
    shard_client *client = ready_client();
    CHECK(poll_event(client, &held, 1000) == 1);
    CHECK(reply_of(client, put, text, sizeof text) == SHARD_OK);
    pid_t child = fork();
    if (child == 0) {
        CHECK(poll_event(client, &event, 0) == SHARD_E_FORKED);
        CHECK(shard_client_stop(client, SHARD_STOP_CLOSE, -1) == SHARD_E_FORKED);
        shard_client_free(client);
        shard_event_release(&held);
        CHECK(held.owner == NULL);
        shard_client *own = ready_client();
        CHECK(poll_event(own, &event, 1000) == 1);
        shard_event_release(&event);
        CHECK(shard_client_status_json(own, text, sizeof text, &len) == SHARD_OK);
        CHECK(strstr(text, "this process was forked from one") != NULL);
        CHECK(reply_of(own, put, text, sizeof text) == SHARD_E_IO);
        CHECK(strstr(text, "this process was forked from one") != NULL);
        shard_client_free(own);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(shard_client_healthy(client) == SHARD_OK);
    CHECK(shard_client_status_json(client, text, sizeof text, &len) == SHARD_OK);
    CHECK(strstr(text, "forked") == NULL);
    CHECK(reply_of(client, put, text, sizeof text) == SHARD_OK);
    shard_event_release(&held);
    shard_client_free(client);
}

struct log {
    shard_client *client;
    int lines;
    int refused;
};

static void on_log(void *userdata, int32_t level, const char *target, size_t target_len,
                   const char *text, size_t text_len) {
    struct log *log = userdata;
    shard_event event;
    CHECK(level >= SHARD_LOG_ERROR && level <= SHARD_LOG_DEBUG);
    CHECK(target_len >= 11 && memcmp(target, "shardwright", 11) == 0);
    CHECK(text_len > 0 && memchr(text, '\0', text_len) == NULL);
    __atomic_add_fetch(&log->lines, 1, __ATOMIC_SEQ_CST);
    if (poll_event(log->client, &event, -1) == SHARD_E_STATE)
        __atomic_add_fetch(&log->refused, 1, __ATOMIC_SEQ_CST);
}

/* The log callback gets lines on the engine's threads, may not call back, and is silent once removed. */
static void logs(void) {
    const char config[] = "{\"intents\": 1, \"log\": {\"to\": \"callback\", \"level\": \"debug\"}}";
    struct log log = {NULL, 0, 0};
    CHECK(shard_set_log_callback(on_log, &log, SHARD_LOG_DEBUG) == SHARD_OK);
    log.client = shard_client_new(config, strlen(config));
    CHECK(log.client != NULL && shard_client_start(log.client) == SHARD_OK);
    CHECK(shard_client_wait_ready(log.client, 60000) == SHARD_OK);
    CHECK(shard_set_log_callback(NULL, NULL, SHARD_LOG_OFF) == SHARD_OK);
    int lines = log.lines;
    CHECK(lines > 4 && log.refused == lines);
    CHECK(shard_client_stop(log.client, SHARD_STOP_CLOSE, -1) == SHARD_OK);
    CHECK(log.lines == lines);
    shard_client_free(log.client);

    const char events[] = "{\"intents\": 1, \"log\": {\"to\": \"events\", \"level\": \"trace\"}}";
    shard_client *client = shard_client_new(events, strlen(events));
    CHECK(client != NULL && shard_client_start(client) == SHARD_OK);
    CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);
    const char *token = getenv("DISCORD_TOKEN");
    shard_event event;
    int logged = 0;
    while (poll_event(client, &event, 100) == 1) {
        if (event.kind == SHARD_EVENT_LOG) {
            char line[4096];
            snprintf(line, sizeof line, "%.*s", (int)event.data_len, (const char *)event.data);
            CHECK(strstr(line, token) == NULL);
            logged++;
        }
        shard_event_release(&event);
    }
    CHECK(logged > 10);
    shard_client_free(client);
}

/* Clients that come and go leave nothing behind; valgrind and the sanitizers look. */
static void churn(void) {
    for (int i = 0; i < 20; i++) {
        shard_client *client = new_client();
        if (i % 2 == 0)
            CHECK(shard_client_start(client) == SHARD_OK);
        if (i % 4 == 0)
            CHECK(shard_client_stop(client, SHARD_STOP_ABORT, 0) <= 0);
        shard_client_free(client);
    }
}

/* Two clients live side by side: each has its events, and the end of one is not that of the other. */
static void two(void) {
    shard_event event, held;
    uint64_t id;
    shard_client *first = ready_client(), *second = ready_client();
    CHECK(first != second && shard_client_event_fd(first) != shard_client_event_fd(second));
    CHECK(poll_event(first, &held, 1000) == 1);
    CHECK(send_command(second, "{\"type\":\"gateway_info\"}", 23, &id) == SHARD_OK);
    do {
        CHECK(poll_event(second, &event, 60000) == 1);
        int is_reply = event.kind == SHARD_EVENT_REPLY && event.command_id == id && event.status == 0;
        shard_event_release(&event);
        if (is_reply)
            break;
    } while (1);
    shard_client_free(first);
    CHECK(poll_event(first, &event, 0) == SHARD_E_INVALID_HANDLE);
    CHECK(shard_client_healthy(second) == SHARD_OK);
    CHECK(send_command(second, "{\"type\":\"gateway_info\"}", 23, &id) == SHARD_OK);
    CHECK(poll_event(second, &event, 60000) == 1 && event.command_id == id);
    shard_event_release(&event);
    shard_event_release(&held);
    shard_client_free(second);
}

/* A peer that takes connections and breaks each while the other side writes. */
struct peer {
    int listener;
    int broken;
};

static void *break_connections(void *argument) {
    struct peer *peer = argument;
    char bytes[4096];
    int socket;
    while ((socket = accept(peer->listener, NULL, NULL)) >= 0) {
        struct linger at_once = {1, 0};
        CHECK(recv(socket, bytes, sizeof bytes, 0) >= 0);
        /* The end, and then a reset: whoever goes on writing gets EPIPE. */
        shutdown(socket, SHUT_WR);
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(socket);
        __atomic_add_fetch(&peer->broken, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static int broken_pipe[2], writes_failed;

/* The engine's threads run this: a write to what is broken must be an error there, and no signal. */
static void write_to_nobody(void *userdata, int32_t level, const char *target, size_t target_len,
                            const char *text, size_t text_len) {
    struct iovec part = {(void *)text, text_len};
    (void)userdata, (void)level, (void)target, (void)target_len;
    CHECK(writev(broken_pipe[1], &part, 1) == -1 && errno == EPIPE);
    __atomic_add_fetch(&writes_failed, 1, __ATOMIC_SEQ_CST);
}

/* SIGPIPE ends this process, as is the default; peers vanish in the middle of a write. */
static void vanished(void) {
    struct sigaction before, after, dies = {.sa_handler = SIG_DFL};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct peer peer = {socket(AF_INET, SOCK_STREAM, 0), 0};
    socklen_t size = sizeof address;
    enum { BODY = 512 << 10, TIMES = 8 };
    char config[256], *command = malloc(BODY + 256);
    shard_event event;
    pthread_t thread;
    uint64_t id;

    CHECK(sigaction(SIGPIPE, &dies, NULL) == 0 && sigaction(SIGPIPE, NULL, &before) == 0);
    CHECK(pipe(broken_pipe) == 0 && close(broken_pipe[0]) == 0);
    CHECK(bind(peer.listener, (struct sockaddr *)&address, size) == 0 && listen(peer.listener, 64) == 0);
    CHECK(getsockname(peer.listener, (struct sockaddr *)&address, &size) == 0);
    CHECK(pthread_create(&thread, NULL, break_connections, &peer) == 0);

    CHECK(shard_set_log_callback(write_to_nobody, NULL, SHARD_LOG_DEBUG) == SHARD_OK);
    snprintf(config, sizeof config,
             "{\"intents\": 1, \"api_url\": \"http://127.0.0.1:%d\", "
             "\"log\": {\"to\": \"callback\", \"level\": \"debug\"}}",
             ntohs(address.sin_port));
    shard_client *client = shard_client_new(config, strlen(config));
    CHECK(client != NULL && shard_client_start(client) == SHARD_OK);
    int head = sprintf(command, "{\"type\":\"rest\",\"method\":\"POST\",\"path\":\"/channels/1/messages\",\"body\":\"");
    memset(command + head, 'x', BODY);
    int tail = sprintf(command + head + BODY, "\"}");
    for (int i = 0; i < TIMES; i++) {
        CHECK(send_command(client, command, (size_t)(head + BODY + tail), &id) == SHARD_OK);
        do {
            CHECK(poll_event(client, &event, 60000) == 1);
            uint64_t replied = event.command_id;
            CHECK(replied == 0 || event.status < 0);
            shard_event_release(&event);
            if (replied == id)
                break;
        } while (1);
    }
    CHECK(__atomic_load_n(&peer.broken, __ATOMIC_SEQ_CST) >= TIMES);
    CHECK(__atomic_load_n(&writes_failed, __ATOMIC_SEQ_CST) > 0);
    shard_client_free(client);
    CHECK(shard_set_log_callback(NULL, NULL, SHARD_LOG_OFF) == SHARD_OK);
    CHECK(sigaction(SIGPIPE, NULL, &after) == 0 && after.sa_handler == before.sa_handler);
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(peer.listener);
    close(broken_pipe[1]);
    free(command);
}

static int entries(const char *path) {
    int count = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* A thread that was joined is listed until the kernel is through with it. */
static int threads_become(int number) {
    double began = seconds();
    while (entries("/proc/self/task") != number && seconds() - began < 10)
        sched_yield();
    return entries("/proc/self/task") == number;
}

static long resident_kb(void) {
    long kb = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    fclose(status);
    return kb;
}

/* Memory, descriptors and threads are the same after many clients as after a few. */
static void leaves_nothing(const char *what, int some, int many, int start) {
    long kb = 0;
    int fds = 0, threads = entries("/proc/self/task");
    double began = seconds();
    for (int i = 0; i < some + many; i++) {
        if (i == some)
            kb = resident_kb(), fds = entries("/proc/self/fd");
        shard_client *client = new_client();
        if (start) {
            CHECK(shard_client_start(client) == SHARD_OK);
            if (i % 25 == 0)
                CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);
            CHECK(shard_client_stop(client, SHARD_STOP_ABORT, -1) == SHARD_OK);
        }
        shard_client_free(client);
    }
    long grown = resident_kb() - kb;
    printf("%d clients %s: %.1f s, %ld kB more\n", many, what, seconds() - began, grown);
    CHECK(grown < 4096);
    CHECK(entries("/proc/self/fd") == fds);
    CHECK(threads_become(threads));
}

/* 100,000 clients, one after another, and 300 that are started. */
static void cycles(void) {
    leaves_nothing("made and freed", 1000, 100000, 0);
    leaves_nothing("started, stopped and freed", 100, 300, 1);
}

struct race {
    shard_client *client;
    pthread_barrier_t start;
    int accepted, replied, how;
};

static int is_end(int status) {
    return status == SHARD_E_CLOSED || status == SHARD_E_INVALID_HANDLE;
}

static void *race_poll(void *argument) {
    struct race *race = argument;
    enum { MANY = 16 };
    shard_event all[MANY];
    pthread_barrier_wait(&race->start);
    for (;;) {
        int count = shard_client_poll_events(race->client, all, MANY, -1);
        if (count < 0) {
            CHECK(is_end(count));
            return NULL;
        }
        for (int i = 0; i < count; i++)
            if (all[i].kind == SHARD_EVENT_REPLY)
                __atomic_add_fetch(&race->replied, 1, __ATOMIC_SEQ_CST);
        shard_events_release(all, (size_t)count);
    }
}

static void *race_use(void *argument) {
    static const char COMMAND[] = "{\"type\":\"update_presence\",\"status\":\"idle\"}";
    struct race *race = argument;
    char text[512];
    size_t len;
    pthread_barrier_wait(&race->start);
    for (;;) {
        int status = send_command(race->client, COMMAND, strlen(COMMAND), NULL);
        if (status == SHARD_OK)
            __atomic_add_fetch(&race->accepted, 1, __ATOMIC_SEQ_CST);
        else if (is_end(status))
            return NULL;
        else
            CHECK(status == SHARD_E_QUEUE_FULL);
        shard_client_wake(race->client);
        shard_client_status_json(race->client, text, sizeof text, &len);
        shard_client_event_fd(race->client);
    }
}

static void *race_end(void *argument) {
    struct race *race = argument;
    struct timespec pause = {0, rand() % 4 * 1000000};
    pthread_barrier_wait(&race->start);
    nanosleep(&pause, NULL);
    int status = shard_client_stop(race->client, (uint32_t)race->how % 3, -1);
    CHECK(status == SHARD_OK || is_end(status));
    if (race->how >= 3)
        shard_client_free(race->client);
    return NULL;
}

/* Eight threads poll, one commands, and two stop and free at the same time. */
static void stress(void) {
    for (int how = 0; how < 6; how++) {
        struct race race = {ready_client(), {{0}}, 0, 0, how};
        pthread_t all[THREADS + 3];
        CHECK(pthread_barrier_init(&race.start, NULL, THREADS + 3) == 0);
        for (int i = 0; i < THREADS + 3; i++) {
            void *(*run)(void *) = i < THREADS ? race_poll : i == THREADS ? race_use : race_end;
            CHECK(pthread_create(&all[i], NULL, run, &race) == 0);
        }
        for (int i = 0; i < THREADS + 3; i++)
            CHECK(pthread_join(all[i], NULL) == 0);
        /* A client that was stopped, and not freed under the polls, owes nothing. */
        CHECK(how >= 3 ? race.replied <= race.accepted : race.replied == race.accepted);
        shard_client_free(race.client);
        pthread_barrier_destroy(&race.start);
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } CASES[] = {
        {"arguments", arguments}, {"handles", handles}, {"order", order}, {"events", events},
        {"threads", threads}, {"wake", wake}, {"signals", signals}, {"forked", forked},
        {"logs", logs}, {"churn", churn}, {"two", two},
        {"vanished", vanished}, {"cycles", cycles}, {"stress", stress},
    };
    for (size_t i = 0; argc == 2 && i < sizeof CASES / sizeof *CASES; i++)
        if (strcmp(argv[1], CASES[i].name) == 0) {
            CASES[i].run();
            return 0;
        }
    fprintf(stderr, "usage: abuse CASE\n");
    return 2;
}
