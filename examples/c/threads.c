/* The ping bot on several threads, each of which polls batches of events, for handlers that take time.
 *
 * An event goes to one thread, whichever polls next: two events of a guild may be handled at the same
 * time, in either order. Where order counts, let one thread poll and hand out by guild_id.
 * Run it with DISCORD_TOKEN set; Ctrl-C ends it. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shardwright.h"

#define THREADS 4
#define BATCH 64

static const char CONFIG[] =
    "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\", \"MESSAGE_CONTENT\"],"
    " \"events\": [\"MESSAGE_CREATE\"], \"log\": {\"to\": \"none\"}}";

static shard_client *client;
static atomic_bool refused;

/* Says what went wrong last in this thread, and ends the program. */
static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", what, why, shard_status_name(shard_last_status()));
    exit(EXIT_FAILURE);
}

/* A field of an event; it points into the event, without a NUL. Empty when there is none. */
static const char *field(shard_event *event, const char *pointer, int *len) {
    const char *text = "";
    size_t size = 0;
    shard_event_get(event, pointer, strlen(pointer), &text, &size);
    *len = (int)size;
    return text;
}

static void on_message(shard_event *event) {
    char command[256];
    int len;
    const char *text = field(event, "/content", &len);
    if (len != 5 || memcmp(text, "!ping", 5) != 0)
        return;
    text = field(event, "/channel_id", &len);
    snprintf(command, sizeof command,
             "{\"type\": \"rest\", \"method\": \"POST\", \"path\": \"/channels/%.*s/messages\","
             " \"body\": {\"content\": \"Pong!\"}}", len, text);
    if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
        fail("send_command");
}

static void on_event(shard_event *event) {
    int len;
    const char *reason = field(event, "/reason", &len);
    if (event->kind == SHARD_EVENT_DISPATCH) {
        on_message(event);
    } else if (event->kind == SHARD_EVENT_REPLY) {
        printf("answered with status %d\n", event->status);
    } else if (event->kind == SHARD_EVENT_SHARD_STATE && event->shard_id != SHARD_NONE) {
        printf("shard %u: %.*s (%.*s)\n", event->shard_id, (int)event->name_len, event->name, len, reason);
    } else if (event->kind == SHARD_EVENT_FATAL) {
        fprintf(stderr, "refused: %.*s\n", len, reason);
        atomic_store(&refused, true);
        kill(getpid(), SIGTERM); /* the main thread waits for that */
    }
}

/* Handles events until the stream ends, which every thread is told. */
static void *work(void *handled) {
    shard_event batch[BATCH];
    int count;
    while ((count = shard_client_poll_events(client, batch, BATCH, -1)) != SHARD_E_CLOSED) {
        if (count < 0 && count != SHARD_E_INTERRUPTED)
            fail("shard_client_poll_events");
        for (int i = 0; i < count; i++)
            on_event(&batch[i]);
        if (count > 0) {
            shard_events_release(batch, (size_t)count);
            *(unsigned long *)handled += (unsigned long)count;
        }
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    unsigned long handled[THREADS] = {0};
    sigset_t signals;
    int number;

    /* Blocked in every thread, and taken by the one that waits for them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);

    client = shard_client_new(CONFIG, strlen(CONFIG));
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("cannot start");
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &handled[i]) != 0)
            abort();
    sigwait(&signals, &number);
    shard_client_stop(client, SHARD_STOP_CLOSE, 10000);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        printf("thread %d handled %lu events\n", i, handled[i]);
    }
    shard_client_free(client);
    return atomic_load(&refused) ? EXIT_FAILURE : EXIT_SUCCESS;
}
