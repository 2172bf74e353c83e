/* One bot in several processes, which count their guilds together: "!guilds" prints a table of all
 * processes here, asks each of them for its count, and answers with the sum.
 *
 * Run it with DISCORD_TOKEN set, as often as you like, with other shards each: SHARDWRIGHT_SHARDS=0-1/4,
 * then 2-3/4. On several machines SHARDWRIGHT_BACKPLANE=redis://host takes the place of the file. Ctrl-C
 * ends it. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shardwright.h"

#define MAX_QUESTIONS 64

static const char CONFIG[] =
    "{\"intents\": [\"GUILDS\", \"GUILD_MESSAGES\", \"MESSAGE_CONTENT\"],"
    " \"events\": [\"MESSAGE_CREATE\"], \"log\": {\"to\": \"none\"}}";

/* What to do with the reply to a command. */
typedef void on_reply(shard_client *client, shard_event *reply, const char *about);

/* A command whose reply is waited for; with an id of 0, room for one. */
static struct question {
    uint64_t id;
    on_reply *then;
    char about[64]; /* the channel to answer in, or the call to answer */
} questions[MAX_QUESTIONS];

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

/* Sends a command, and remembers what its reply is for. */
static void ask(shard_client *client, const char *command, on_reply *then, const char *about) {
    struct question *free_one = NULL;
    for (size_t i = 0; i < MAX_QUESTIONS && free_one == NULL; i++)
        if (questions[i].id == 0)
            free_one = &questions[i];
    if (free_one == NULL) {
        fprintf(stderr, "too many questions at once\n");
        return;
    }
    if (send_command(client, command, strlen(command), &free_one->id) != SHARD_OK)
        fail("send_command"); /* such as: there is no backplane */
    free_one->then = then;
    snprintf(free_one->about, sizeof free_one->about, "%s", about);
}

/* A field of an event as a C string, such as "/workers/0/host"; NULL when there is none. */
static const char *field(shard_event *event, const char *pointer, char *buf, size_t cap) {
    const char *text;
    size_t len;
    if (shard_event_get(event, pointer, strlen(pointer), &text, &len) != SHARD_OK)
        return NULL;
    snprintf(buf, cap, "%.*s", (int)len, text);
    return buf;
}

/* A number in an element of a list: number(reply, "/workers", 0, "guilds"). 0 when there is none. */
static uint64_t number(shard_event *event, const char *list, unsigned index, const char *key) {
    char pointer[128], buf[32];
    snprintf(pointer, sizeof pointer, "%s/%u/%s", list, index, key);
    return field(event, pointer, buf, sizeof buf) ? strtoull(buf, NULL, 10) : 0;
}

/* The elements of a list, which ends where there is no more. */
static unsigned length(shard_event *event, const char *list) {
    char pointer[128], buf[2];
    unsigned count = 0;
    do
        snprintf(pointer, sizeof pointer, "%s/%u", list, count++);
    while (field(event, pointer, buf, sizeof buf) != NULL);
    return count - 1;
}

/* -- the table ------------------------------------------------------------------------------------- */

/* One line of it. `of` is "/total", or "/workers/0" for a process. */
static void print_line(shard_event *stats, const char *of, const char *name, const char *shards) {
    static const char *const KEYS[] = {"guilds", "members", "events_per_second"};
    char pointer[128], buf[32];
    printf("%-16s %-20s", name, shards);
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        snprintf(pointer, sizeof pointer, "%s/%s", of, KEYS[i]);
        const char *value = field(stats, pointer, buf, sizeof buf);
        printf(" %10s", value ? value : "-");
    }
    printf("\n");
}

static void print_table(shard_client *client, shard_event *stats, const char *about) {
    char at[64], list[80], name[64], shards[64];
    unsigned workers = length(stats, "/workers"), running = 0;
    (void)client, (void)about;
    printf("%-16s %-20s %10s %10s %10s\n", "process", "shards", "guilds", "members", "events/s");
    for (unsigned worker = 0; worker < workers; worker++) {
        snprintf(at, sizeof at, "/workers/%u", worker);
        snprintf(list, sizeof list, "%s/shards", at);
        unsigned count = length(stats, list);
        shards[0] = '\0';
        for (unsigned i = 0; i < count; i++) {
            size_t end = strlen(shards);
            if (end > 12) { /* what does not fit the column */
                snprintf(shards + end, sizeof shards - end, " (%u)", count);
                break;
            }
            snprintf(shards + end, sizeof shards - end, end ? " %" PRIu64 : "%" PRIu64,
                     number(stats, list, i, "shard"));
        }
        running += count;
        snprintf(list, sizeof list, "%s/worker", at);
        print_line(stats, at, field(stats, list, name, sizeof name), shards);
    }
    snprintf(name, sizeof name, "%u process%s", workers, workers == 1 ? "" : "es");
    char total[32];
    if (!field(stats, "/total/shard_total", total, sizeof total))
        snprintf(total, sizeof total, "?"); /* they do not agree */
    snprintf(shards, sizeof shards, "%u of %s", running, total);
    print_line(stats, "/total", name, shards);
}

/* -- the call -------------------------------------------------------------------------------------- */

/* All have answered, or have not in time. */
static void sum_up(shard_client *client, shard_event *reply, const char *channel) {
    unsigned answers = length(reply, "/answers"), missing = length(reply, "/missing");
    uint64_t guilds = 0;
    char text[128], command[512];
    for (unsigned i = 0; i < answers; i++)
        guilds += number(reply, "/answers", i, "data/guilds");
    int len = snprintf(text, sizeof text, "%" PRIu64 " guilds, say %u processes", guilds, answers);
    if (missing > 0)
        snprintf(text + len, sizeof text - (size_t)len, "; %u did not answer", missing);
    printf("%s\n", text);
    snprintf(command, sizeof command,
             "{\"type\": \"rest\", \"method\": \"POST\", \"path\": \"/channels/%s/messages\","
             " \"body\": {\"content\": \"%s\"}}", channel, text);
    if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
        fail("send_command");
}

/* This process is asked, and knows its count now. */
static void answer(shard_client *client, shard_event *stats, const char *call) {
    char count[32], command[256];
    if (!field(stats, "/guilds", count, sizeof count))
        return;
    snprintf(command, sizeof command,
             "{\"type\": \"answer\", \"call\": \"%s\", \"data\": {\"guilds\": %s}}", call, count);
    if (send_command(client, command, strlen(command), NULL) != SHARD_OK)
        fail("send_command");
}

/* -- events ---------------------------------------------------------------------------------------- */

static void on_event(shard_client *client, shard_event *event) {
    char text[256], about[64];
    switch (event->kind) {
    case SHARD_EVENT_DISPATCH: /* the only one asked for is MESSAGE_CREATE */
        if (field(event, "/content", text, sizeof text) && strcmp(text, "!guilds") == 0 &&
            field(event, "/channel_id", about, sizeof about)) {
            ask(client, "{\"type\": \"cluster_stats\"}", print_table, about);
            ask(client, "{\"type\": \"call\", \"topic\": \"guilds\", \"data\": null}", sum_up, about);
        }
        break;
    case SHARD_EVENT_CALL: /* only "guilds" is subscribed to */
        if (field(event, "/call", about, sizeof about))
            ask(client, "{\"type\": \"guild_stats\"}", answer, about);
        break;
    case SHARD_EVENT_REPLY:
        if (event->status < 0 && field(event, "/error", text, sizeof text))
            fprintf(stderr, "%s (%s)\n", text, shard_status_name(event->status));
        for (size_t i = 0; i < MAX_QUESTIONS; i++) {
            if (questions[i].id != event->command_id)
                continue;
            questions[i].id = 0;
            if (event->status == SHARD_OK)
                questions[i].then(client, event, questions[i].about);
            break;
        }
        break;
    case SHARD_EVENT_SHARD_STATE:
        if (event->shard_id != SHARD_NONE)
            printf("shard %u: %.*s\n", event->shard_id, (int)event->name_len, event->name);
        break;
    case SHARD_EVENT_FATAL:
        if (field(event, "/reason", text, sizeof text))
            fprintf(stderr, "refused: %s\n", text);
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

    /* Unless it is set already: a file that all processes of this directory open. */
    setenv("SHARDWRIGHT_BACKPLANE", "sqlite:count_guilds.backplane", 0);
    shard_client *client = shard_client_new(CONFIG, strlen(CONFIG));
    if (client == NULL || shard_client_start(client) != SHARD_OK)
        fail("cannot start");
    static const char subscribe[] = "{\"type\": \"subscribe\", \"topic\": \"guilds\"}";
    if (send_command(client, subscribe, strlen(subscribe), NULL) != SHARD_OK)
        fail("send_command");

    shard_event event;
    int polled = 0, refused = 0;
    while (!interrupted && !refused && (polled >= 0 || polled == SHARD_E_INTERRUPTED)) {
        polled = poll_event(client, &event, -1);
        if (polled == 1) {
            on_event(client, &event);
            refused = event.kind == SHARD_EVENT_FATAL;
            shard_event_release(&event);
        }
    }

    shard_client_stop(client, SHARD_STOP_CLOSE, 10000);
    shard_client_free(client);
    return refused ? EXIT_FAILURE : EXIT_SUCCESS;
}
