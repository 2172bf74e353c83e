/* A bot in C that takes every event, as benches/bench.py asks for it. BENCH_WAY is the batch, 1 or 256. With BENCH_TIMES
   it writes there when it took each of them, in nanoseconds since 1970. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <shardwright.h>

static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not set\n", name);
        exit(1);
    }
    return value;
}

/* Processor time of the whole process, the engine's threads included. */
static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t unix_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_times(const char *path, const uint64_t *times, size_t count) {
    FILE *file = fopen(path, "w");
    for (size_t i = 0; file != NULL && i < count; i++)
        fprintf(file, "%llu\n", (unsigned long long)times[i]);
    if (file == NULL || fclose(file) != 0)
        perror(path);
}

/* Not from getrusage: there it begins with the memory of whoever started the process. */
static long peak_kib(void) {
    char line[256];
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return peak;
}

int main(void) {
    long events = atol(variable("BENCH_EVENTS"));
    size_t batch = (size_t)atol(variable("BENCH_WAY"));
    static shard_event taken[256];
    if (events < 1 || batch < 1 || batch > sizeof taken / sizeof *taken)
        return 2;
    const char *times_file = getenv("BENCH_TIMES");
    uint64_t *times = times_file ? calloc((size_t)events, sizeof *times) : NULL;
    char config[512];
    snprintf(config, sizeof config,
             "{\"intents\": 131071, \"compression\": \"%s\", \"log\": {\"to\": \"none\"},"
             " \"events\": [\"MESSAGE_CREATE\", \"PRESENCE_UPDATE\", \"TYPING_START\", \"GUILD_MEMBER_UPDATE\","
             " \"MESSAGE_REACTION_ADD\"]}", variable("BENCH_COMPRESSION"));
    shard_client *client = shard_client_new(config, strlen(config));
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("start");

    double cpu = 0, wall = 0;
    size_t sum = 0; /* of what the events say, so that they are looked at */
    long left = events;
    while (left > 0) {
        int32_t count = batch == 1 ? shard_client_poll_event(client, taken, -1)
                                   : shard_client_poll_events(client, taken, batch, -1);
        if (count < 0)
            fail("poll");
        uint64_t now = times ? unix_ns() : 0;
        for (int32_t i = 0; i < count && left > 0; i++) {
            if (taken[i].kind == SHARD_EVENT_FATAL)
                return 1;
            if (taken[i].kind != SHARD_EVENT_DISPATCH)
                continue;
            if (left-- == events) {
                cpu = cpu_s();
                wall = wall_s();
            }
            if (times)
                times[events - left - 1] = now;
            sum += taken[i].data_len + taken[i].data[0];
        }
        shard_events_release(taken, (size_t)count);
    }
    cpu = cpu_s() - cpu;
    wall = wall_s() - wall;
    printf("{\"client\":\"%s, C\",\"events\":%ld,\"cpu_s\":%.6f,\"wall_s\":%.6f,\"peak_kib\":%ld}\n",
           shard_version(), events, cpu, wall, peak_kib());
    if (times)
        write_times(times_file, times, (size_t)events);
    free(times);
    shard_client_stop(client, SHARD_STOP_CLOSE, -1);
    shard_client_free(client);
    return sum == 0;
}
