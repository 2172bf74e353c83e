/* The ping bot in a libuv loop: events and signals are callbacks of one thread, beside whatever else
 * the loop does. Run it with DISCORD_TOKEN set; Ctrl-C ends it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "shardwright.h"

#define BATCH 64
#define BATCHES_PER_TURN 16 /* then the loop's other callbacks have their turn, even in a flood */

static const char CONFIG[] =
    "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\", \"MESSAGE_CONTENT\"],"
    " \"events\": [\"MESSAGE_CREATE\"], \"log\": {\"to\": \"none\"}}";

static shard_client *client;
static uv_poll_t readable;
static uv_signal_t signals[2];
static int refused;

/* Says what went wrong last in this thread, and ends the program. */
static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", what, why, shard_status_name(shard_last_status()));
    exit(EXIT_FAILURE);
}

/* The same for a function of libuv. */
static void check(int status, const char *what) {
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
        exit(EXIT_FAILURE);
    }
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
    if (event->kind == SHARD_EVENT_DISPATCH)
        on_message(event);
    else if (event->kind == SHARD_EVENT_REPLY)
        printf("answered with status %d\n", event->status);
    else if (event->kind == SHARD_EVENT_SHARD_STATE && event->shard_id != SHARD_NONE)
        printf("shard %u: %.*s (%.*s)\n", event->shard_id, (int)event->name_len, event->name, len, reason);
    else if (event->kind == SHARD_EVENT_FATAL) {
        fprintf(stderr, "refused: %.*s\n", len, reason);
        refused = 1;
        shard_client_stop(client, SHARD_STOP_CLOSE, 0);
    }
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    shard_event batch[BATCH];
    int count = 0;
    (void)events;
    check(status, "the event descriptor");
    for (int turn = 0; turn < BATCHES_PER_TURN; turn++) {
        if ((count = shard_client_poll_events(client, batch, BATCH, 0)) <= 0)
            break;
        for (int i = 0; i < count; i++)
            on_event(&batch[i]);
        shard_events_release(batch, (size_t)count);
    }
    fflush(stdout);
    if (count < 0 && count != SHARD_E_CLOSED)
        fail("shard_client_poll_events");
    if (count == SHARD_E_CLOSED) { /* the end: without these handles the loop has nothing left to do */
        uv_close((uv_handle_t *)handle, NULL);
        for (int i = 0; i < 2; i++)
            uv_close((uv_handle_t *)&signals[i], NULL);
    }
}

static void on_signal(uv_signal_t *handle, int number) {
    (void)handle, (void)number;
    shard_client_stop(client, SHARD_STOP_CLOSE, 0); /* no wait: on_readable sees the end of the stream */
}

int main(void) {
    uv_loop_t *loop = uv_default_loop();
    client = shard_client_new(CONFIG, strlen(CONFIG));
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("cannot start");
    for (int i = 0; i < 2; i++) {
        check(uv_signal_init(loop, &signals[i]), "uv_signal_init");
        check(uv_signal_start(&signals[i], on_signal, i == 0 ? SIGINT : SIGTERM), "uv_signal_start");
    }
    check(uv_poll_init(loop, &readable, shard_client_event_fd(client)), "uv_poll_init");
    check(uv_poll_start(&readable, UV_READABLE, on_readable), "uv_poll_start");
    uv_run(loop, UV_RUN_DEFAULT);
    shard_client_free(client); /* after uv_close: the descriptor is gone with the client */
    return refused || uv_loop_close(loop) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
