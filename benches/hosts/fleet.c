/* Many shards in C, as benches/fleet.py asks for them: says when all are ready, and holds them until it is killed.
   Then each line of its input is a number of commands to send and to wait for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardwright.h>

static double now_s(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* Takes what there is for so long, or until so many replies came. */
static void take(shard_client *client, int32_t timeout_ms, long replies) {
    static shard_event taken[256];
    int32_t count;
    while (replies != 0 && (count = shard_client_poll_events(client, taken, 256, timeout_ms)) > 0) {
        for (int32_t i = 0; i < count; i++) {
            if (taken[i].kind == SHARD_EVENT_FATAL)
                exit(1);
            replies -= taken[i].kind == SHARD_EVENT_REPLY;
        }
        shard_events_release(taken, (size_t)count);
    }
}

int main(void) {
    const char *ca_file = getenv("BENCH_CA_FILE");
    char config[1024];
    snprintf(config, sizeof config,
             "{\"intents\": 131071, \"compression\": \"%s\", \"log\": {\"to\": \"none\"},"
             " \"identify\": {\"budget_reserve\": 0}%s%s%s}",
             getenv("BENCH_COMPRESSION"), ca_file ? ", \"ca_file\": \"" : "", ca_file ? ca_file : "",
             ca_file ? "\"" : "");
    shard_client *client = shard_client_new(config, strlen(config));
    double began = now_s(CLOCK_MONOTONIC);
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("start");
    while (shard_client_wait_ready(client, 5) == SHARD_E_TIMEOUT)
        take(client, 0, -1);
    printf("ready after %.3f s\n", now_s(CLOCK_MONOTONIC) - began);
    fflush(stdout);
    take(client, 2000, -1); /* what READY is followed by */
    char line[32];
    while (fgets(line, sizeof line, stdin) != NULL) {
        long commands = atol(line);
        const char *command = "{\"type\":\"guild_stats\"}";
        double cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
        for (long i = 0; i < commands; i++) {
            if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
                fail("send_command");
            take(client, -1, 1);
        }
        printf("%.3f us per command\n", (now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)commands * 1e6);
        fflush(stdout);
    }
    return 0;
}
