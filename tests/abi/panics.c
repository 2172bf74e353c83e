/* Panics inside the library. Linked with the library of tests/abi/panics.rs, which is the real one and some
 * more exports that panic. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shardwright.h"

#define CHECK(condition) check((condition), #condition, __LINE__)

shard_client *shard_test_client_new(const char *config_json, size_t config_len);
shard_status shard_test_panic_in_call(shard_client *client);
shard_status shard_test_panic_in_poll(shard_client *client);
void shard_test_panic_in_shard(void);

static const char CONFIG[] = "{\"intents\": 1, \"log\": {\"to\": \"none\"}}";

static void check(int holds, const char *condition, int line) {
    char why[512];
    if (holds)
        return;
    shard_last_error(why, sizeof why);
    fprintf(stderr, "line %d: %s does not hold; last error: %s\n", line, condition, why);
    exit(1);
}

static int has_error(const char *part) {
    char why[512];
    shard_last_error(why, sizeof why);
    return shard_last_status() == SHARD_E_PANIC && strstr(why, part) != NULL;
}

/* Polls until a REPLY, or a SHARD_STATE of this state and reason. */
static shard_event wait_for(shard_client *client, uint32_t kind, const char *state, const char *reason) {
    shard_event event;
    for (;;) {
        CHECK(poll_event(client, &event, 60000) == 1);
        char data[512];
        snprintf(data, sizeof data, "%.*s", (int)event.data_len, (const char *)event.data);
        if (event.kind == kind && event.name_len == strlen(state) && !memcmp(event.name, state, event.name_len) &&
            strstr(data, reason) != NULL)
            return event;
        shard_event_release(&event);
    }
}

int main(void) {
    static const char COMMAND[] = "{\"type\":\"update_presence\",\"status\":\"idle\"}";
    uint64_t id;
    shard_client *client = shard_test_client_new(CONFIG, strlen(CONFIG));
    CHECK(client != NULL);

    /* In a call: a status with a text, and the client is as before. */
    CHECK(shard_test_panic_in_call(client) == SHARD_E_PANIC && has_error("a bug in Shardwright: on purpose"));
    CHECK(shard_client_start(client) == SHARD_OK);
    CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);

    /* In a poll, with the lock of the queue held. */
    CHECK(shard_test_panic_in_poll(client) == SHARD_E_PANIC && has_error("on purpose"));
    CHECK(send_command(client, COMMAND, strlen(COMMAND), &id) == SHARD_OK);
    shard_event event = wait_for(client, SHARD_EVENT_REPLY, "", "null");
    CHECK(event.command_id == id && event.status == 0);
    shard_event_release(&event);

    /* In the task of a shard: the host is told, and the shard comes back. */
    shard_test_panic_in_shard();
    event = wait_for(client, SHARD_EVENT_SHARD_STATE, "disconnected", "met a bug in the engine");
    uint32_t shard = event.shard_id;
    CHECK(shard < 4);
    shard_event_release(&event);
    event = wait_for(client, SHARD_EVENT_SHARD_STATE, "ready", "");
    CHECK(event.shard_id == shard);
    shard_event_release(&event);
    CHECK(shard_client_healthy(client) == SHARD_OK);
    CHECK(shard_client_stop(client, SHARD_STOP_CLOSE, -1) == SHARD_OK);
    shard_client_free(client);
    CHECK(shard_test_panic_in_call(client) == SHARD_E_INVALID_HANDLE);
    return 0;
}
