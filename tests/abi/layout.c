/* Prints what the header says about layouts and constants; tests/abi/layout.rs compares. */
#include <stdio.h>

#include "shardwright.h"

#define FIELD(name) printf("%s %zu\n", #name, offsetof(shard_event, name))
#define SIZE(type) printf("%s %zu\n", #type, sizeof(type))
#define VALUE(name) printf("%s %lld\n", #name, (long long)(name))

int main(void) {
    FIELD(kind);
    FIELD(shard_id);
    FIELD(seq);
    FIELD(guild_id);
    FIELD(command_id);
    FIELD(received_ns);
    FIELD(name);
    FIELD(name_len);
    FIELD(data);
    FIELD(data_len);
    FIELD(status);
    FIELD(flags);
    FIELD(owner);
    FIELD(reserved);
    SIZE(shard_event);
    SIZE(shard_status);
    VALUE(SHARD_ABI_VERSION);
    VALUE(SHARD_NONE);
    VALUE(SHARD_OK);
    VALUE(SHARD_E_INVALID_ARG);
    VALUE(SHARD_E_INVALID_HANDLE);
    VALUE(SHARD_E_INVALID_CONFIG);
    VALUE(SHARD_E_STATE);
    VALUE(SHARD_E_CLOSED);
    VALUE(SHARD_E_INTERRUPTED);
    VALUE(SHARD_E_UNKNOWN_SHARD);
    VALUE(SHARD_E_QUEUE_FULL);
    VALUE(SHARD_E_TOO_LARGE);
    VALUE(SHARD_E_BUFFER_TOO_SMALL);
    VALUE(SHARD_E_TIMEOUT);
    VALUE(SHARD_E_FATAL);
    VALUE(SHARD_E_FORKED);
    VALUE(SHARD_E_UNSUPPORTED);
    VALUE(SHARD_E_IO);
    VALUE(SHARD_E_NOT_FOUND);
    VALUE(SHARD_E_CANCELLED);
    VALUE(SHARD_E_PANIC);
    VALUE(SHARD_EVENT_DISPATCH);
    VALUE(SHARD_EVENT_SHARD_STATE);
    VALUE(SHARD_EVENT_REPLY);
    VALUE(SHARD_EVENT_MESSAGE);
    VALUE(SHARD_EVENT_CALL);
    VALUE(SHARD_EVENT_JOB);
    VALUE(SHARD_EVENT_OVERFLOW);
    VALUE(SHARD_EVENT_LOG);
    VALUE(SHARD_EVENT_FATAL);
    VALUE(SHARD_EVENT_GUILDS_COMPLETE);
    VALUE(SHARD_EVENT_FLAG_REPLAYED);
    VALUE(SHARD_STOP_RESUMABLE);
    VALUE(SHARD_STOP_CLOSE);
    VALUE(SHARD_STOP_ABORT);
    VALUE(SHARD_LOG_OFF);
    VALUE(SHARD_LOG_ERROR);
    VALUE(SHARD_LOG_WARN);
    VALUE(SHARD_LOG_INFO);
    VALUE(SHARD_LOG_DEBUG);
    VALUE(SHARD_LOG_TRACE);
    return 0;
}
