/* The event descriptor in a poll(2) loop, beside another descriptor: what is typed becomes the bot's
 * status, and what happens on Discord is printed. Ctrl-D ends it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shardwright.h"

#define BATCH 64

static const char CONFIG[] = "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\"], \"log\": {\"to\": \"none\"}}";

static void fail(const char *what) {
    char why[512];
    shard_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", what, why, shard_status_name(shard_last_status()));
    exit(EXIT_FAILURE);
}

/* Takes all events that wait, in batches, without blocking; 0 at the end of the stream. */
static int drain(shard_client *client) {
    shard_event events[BATCH];
    int count;
    while ((count = shard_client_poll_events(client, events, BATCH, 0)) > 0) {
        for (int i = 0; i < count; i++)
            printf("kind %u shard %d %.*s %zu bytes\n", events[i].kind,
                   events[i].shard_id == SHARD_NONE ? -1 : (int)events[i].shard_id,
                   (int)events[i].name_len, events[i].name, events[i].data_len);
        shard_events_release(events, (size_t)count);
    }
    fflush(stdout);
    if (count != 0 && count != SHARD_E_CLOSED && count != SHARD_E_INTERRUPTED)
        fail("shard_client_poll_events");
    return count != SHARD_E_CLOSED;
}

/* Sets the bot's status to a line that was typed. JSON wants quotes and backslashes escaped; this
 * example leaves them out. */
static void set_status(shard_client *client, const char *line) {
    char text[129] = "", command[512];
    size_t len = 0;
    for (; *line != '\0' && len < sizeof text - 1; line++)
        if ((unsigned char)*line >= ' ' && *line != '"' && *line != '\\')
            text[len++] = *line;
    snprintf(command, sizeof command,
             "{\"type\": \"update_presence\", \"status\": \"online\","
             " \"activities\": [{\"name\": \"Custom Status\", \"type\": 4, \"state\": \"%s\"}]}", text);
    if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
        fail("send_command");
}

int main(void) {
    char line[256];
    shard_client *client = shard_client_new(CONFIG, strlen(CONFIG));
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("cannot start");

    struct pollfd fds[] = {
        {.fd = shard_client_event_fd(client), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    int running = 1;
    while (running && poll(fds, 2, -1) > 0) {
        if (fds[0].revents)
            running = drain(client);
        if (fds[1].revents) {
            ssize_t len = read(STDIN_FILENO, line, sizeof line - 1);
            if (len <= 0) {
                /* The descriptor stays readable until the stream has ended, so the loop sees it. */
                shard_client_stop(client, SHARD_STOP_CLOSE, 0);
                fds[1].fd = -1;
                continue;
            }
            line[len] = '\0';
            set_status(client, line);
        }
    }
    shard_client_free(client);
    return EXIT_SUCCESS;
}
