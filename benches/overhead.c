/* What an event costs in C, as benches/overhead.py asks for it. Arguments: events of a round, and rounds; SESSIONS is
 * a file for sessions. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardwright.h>

static size_t sum; /* of what the events say, so that nothing is optimized away */

static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static double thread_cpu_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void take_bytes(shard_event *event) {
    sum += event->data_len + event->data[0];
}

static void take_two_fields(shard_event *event) {
    const char *text = "";
    size_t len = 0;
    if (shard_event_get(event, "/content", 8, &text, &len) == SHARD_OK)
        sum += len;
    if (shard_event_get(event, "/channel_id", 11, &text, &len) == SHARD_OK)
        sum += len;
}

/* Says that the queue is empty, and waits until it is full. */
static void wait_until_full(shard_client *client, long events) {
    puts("fill");
    fflush(stdout);
    if (getchar() == EOF)
        exit(1);
    for (;;) {
        static char status[65536];
        size_t len;
        if (shard_client_status_json(client, status, sizeof status, &len) != SHARD_OK)
            fail("shard_client_status_json");
        const char *queue = strstr(status, "\"queue\":{");
        const char *count = queue == NULL ? NULL : strstr(queue, "\"events\":");
        if (count != NULL && strtol(count + strlen("\"events\":"), NULL, 10) >= events)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static void take(shard_client *client, long events, size_t batch, void (*take_one)(shard_event *)) {
    static shard_event taken[256];
    while (events > 0) {
        int32_t count = shard_client_poll_events(client, taken, batch, -1);
        if (count < 0)
            fail("shard_client_poll_events");
        for (int32_t i = 0; i < count; i++)
            if (taken[i].kind == SHARD_EVENT_DISPATCH) {
                take_one(&taken[i]);
                events--;
            }
        shard_events_release(taken, (size_t)count);
    }
}

/* `more` goes into the configuration. */
static void measure(const char *name, size_t batch, long events, int rounds, void (*take_one)(shard_event *),
                    const char *more) {
    static const char format[] = "{\"intents\": 33281, \"events\": [\"MESSAGE_CREATE\"], \"log\": {\"to\": \"none\"},"
                                 " \"queue\": {\"max_events\": 1000000, \"max_bytes\": 1073741824}%s}";
    char config[1024];
    snprintf(config, sizeof config, format, more);
    shard_client *client = shard_client_new(config, strlen(config));
    if (client == NULL || shard_client_start(client) != SHARD_OK || shard_client_wait_ready(client, -1) != SHARD_OK)
        fail("start");
    for (int round = 0; round < rounds; round++) {
        wait_until_full(client, events);
        double began = thread_cpu_s();
        take(client, events, batch, take_one);
        printf("took\t%s\t%zu\t%f\n", name, batch, (thread_cpu_s() - began) / (double)events * 1e6);
    }
    shard_client_stop(client, SHARD_STOP_CLOSE, -1);
    shard_client_free(client);
}

int main(int argc, char **argv) {
    const char *sessions = getenv("SESSIONS");
    if (argc != 3 || sessions == NULL)
        return 2;
    long events = atol(argv[1]);
    int rounds = atoi(argv[2]);
    char at_most_once[400], at_least_once[512];
    snprintf(at_most_once, sizeof at_most_once, ", \"sessions\": \"sqlite:%s\"", sessions);
    snprintf(at_least_once, sizeof at_least_once, "%s, \"delivery\": \"at_least_once\"", at_most_once);
    printf("host\tC\n");
    for (size_t batch = 1; batch <= 256; batch += 255) {
        measure("bytes", batch, events, rounds, take_bytes, "");
        measure("bytes, sessions, at_most_once", batch, events, rounds, take_bytes, at_most_once);
        measure("bytes, sessions, at_least_once", batch, events, rounds, take_bytes, at_least_once);
        measure("two fields", batch, events, rounds, take_two_fields, "");
    }
    return sum == 0;
}
