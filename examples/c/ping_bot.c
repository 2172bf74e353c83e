/* A Discord bot in C: answers "!ping" with "Pong!", on as many shards as Discord recommends.
 *
 * Run it with DISCORD_TOKEN set. SHARDWRIGHT_SHARDS ("4", "0-7/32") overrides the number of shards,
 * SHARDWRIGHT_API_URL points it at another server, such as `shardwright sim`. Ctrl-C ends it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shardwright.h"

static const char CONFIG[] =
    "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\", \"MESSAGE_CONTENT\"],"
    " \"events\": [\"MESSAGE_CREATE\"],"
    " \"log\": {\"to\": \"none\"}}";

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

/* Says what went wrong last in this thread, and ends the program. */
static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", what, why, shard_status_name(shard_last_status()));
    exit(EXIT_FAILURE);
}

/* Copies a field of an event, such as "/author/id", as a C string; empty when there is none. */
static const char *field(shard_event *event, const char *pointer, char *buf, size_t cap) {
    const char *text = "";
    size_t len = 0;
    if (shard_event_get(event, pointer, strlen(pointer), &text, &len) != SHARD_OK || len >= cap)
        len = 0;
    memcpy(buf, text, len);
    buf[len] = '\0';
    return buf;
}

static void on_message(shard_client *client, shard_event *event) {
    char content[32], channel[32], command[256];
    if (strcmp(field(event, "/content", content, sizeof content), "!ping") != 0)
        return;
    field(event, "/channel_id", channel, sizeof channel);
    snprintf(command, sizeof command,
             "{\"type\": \"rest\", \"method\": \"POST\", \"path\": \"/channels/%s/messages\","
             " \"body\": {\"content\": \"Pong!\"}}", channel);
    printf("shard %u: !ping in channel %s, answering\n", event->shard_id, channel);
    if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
        fail("send_command");
}

static void on_event(shard_client *client, shard_event *event) {
    char reason[256];
    switch (event->kind) {
    case SHARD_EVENT_DISPATCH: /* the only one asked for is MESSAGE_CREATE */
        on_message(client, event);
        break;
    case SHARD_EVENT_REPLY: /* of our REST request: the HTTP status, or a negative one of ours */
        printf("answered with status %d\n", event->status);
        break;
    case SHARD_EVENT_SHARD_STATE:
        field(event, "/reason", reason, sizeof reason);
        if (event->shard_id == SHARD_NONE)
            printf("all shards: %s\n", reason);
        else
            printf("shard %u: %.*s (%s)\n", event->shard_id, (int)event->name_len, event->name, reason);
        break;
    case SHARD_EVENT_FATAL:
        fprintf(stderr, "refused: %s\n", field(event, "/reason", reason, sizeof reason));
        break;
    default: /* kinds that a later version may add */
        break;
    }
    fflush(stdout);
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a poll shall return */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    shard_client *client = shard_client_new(CONFIG, strlen(CONFIG));
    if (client == NULL)
        fail("shard_client_new");
    if (shard_client_start(client) != SHARD_OK)
        fail("shard_client_start");

    shard_event event;
    int polled = 0;
    int refused = 0;
    while (!interrupted && !refused && (polled >= 0 || polled == SHARD_E_INTERRUPTED)) {
        polled = poll_event(client, &event, -1);
        if (polled == 1) {
            on_event(client, &event);
            refused = event.kind == SHARD_EVENT_FATAL;
            shard_event_release(&event);
        }
    }

    /* The bot goes offline; SHARD_STOP_RESUMABLE would keep its sessions for a restart. */
    shard_client_stop(client, SHARD_STOP_CLOSE, 10000);
    shard_client_free(client);
    return refused ? EXIT_FAILURE : EXIT_SUCCESS;
}
