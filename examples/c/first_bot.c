/* The shortest bot in C. ping_bot.c is the same one with everything that can go wrong. */
#include <shardwright.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    const char config[] = "{\"intents\": [\"GUILD_MESSAGES\", \"MESSAGE_CONTENT\"],"
                          " \"events\": [\"MESSAGE_CREATE\"]}";
    shard_client *bot = shard_client_new(config, strlen(config));
    if (shard_client_start(bot) != SHARD_OK)
        return 1;
    shard_event event;
    while (poll_event(bot, &event, -1) == 1) {
        const char *text, *channel;
        size_t text_len, channel_len;
        if (shard_event_get(&event, "/content", 8, &text, &text_len) == SHARD_OK &&
            shard_event_get(&event, "/channel_id", 11, &channel, &channel_len) == SHARD_OK &&
            text_len == 5 && memcmp(text, "!ping", 5) == 0) {
            char command[256];
            int len = snprintf(command, sizeof command,
                               "{\"type\": \"rest\", \"method\": \"POST\","
                               " \"path\": \"/channels/%.*s/messages\","
                               " \"body\": {\"content\": \"Pong!\"}}", (int)channel_len, channel);
            send_command(bot, command, (size_t)len, NULL);
        }
        shard_event_release(&event);
    }
    shard_client_free(bot);
    return 0;
}
