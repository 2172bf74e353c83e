/* A host that closes the library while its threads run: dlclose LIBRARY. The library stays (it is linked
 * with `-z nodelete`), so nothing breaks, and a second dlopen finds the client where it was. */
#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shardwright.h"

#define CHECK(condition) check((condition), #condition, __LINE__)
#define FIND(library, function) ((*(void **)&function = dlsym(library, #function)) != NULL)

static const char CONFIG[] = "{\"intents\": 1, \"log\": {\"to\": \"none\"}}";

static void check(int holds, const char *condition, int line) {
    if (holds)
        return;
    fprintf(stderr, "line %d: %s does not hold\n", line, condition);
    exit(1);
}

static int threads(void) {
    int count = -2;
    DIR *dir = opendir("/proc/self/task");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static int is_mapped(const char *library) {
    char line[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, library) != NULL;
    fclose(maps);
    return found;
}

int main(int argc, char **argv) {
    shard_client *(*shard_client_new)(const char *, size_t) = NULL;
    shard_status (*shard_client_start)(shard_client *) = NULL;
    shard_status (*shard_client_wait_ready)(shard_client *, int32_t) = NULL;
    shard_status (*shard_client_healthy)(shard_client *) = NULL;
    void (*shard_client_free)(shard_client *) = NULL;
    CHECK(argc == 2);

    void *library = dlopen(argv[1], RTLD_NOW);
    CHECK(library != NULL);
    CHECK(FIND(library, shard_client_new) && FIND(library, shard_client_start));
    shard_client *client = shard_client_new(CONFIG, strlen(CONFIG));
    CHECK(client != NULL && shard_client_start(client) == SHARD_OK);
    int running = threads();
    CHECK(running > 1);
    CHECK(dlclose(library) == 0);
    CHECK(is_mapped("libshardwright.so"));

    library = dlopen(argv[1], RTLD_NOW);
    CHECK(library != NULL && threads() == running);
    CHECK(FIND(library, shard_client_wait_ready) && FIND(library, shard_client_healthy));
    CHECK(FIND(library, shard_client_free));
    CHECK(shard_client_wait_ready(client, 60000) == SHARD_OK);
    CHECK(dlclose(library) == 0);
    CHECK(shard_client_healthy(client) == SHARD_OK);
    shard_client_free(client);
    /* A thread that was joined is listed until the kernel is through with it. */
    alarm(60);
    while (threads() != 1)
        sched_yield();

    /* And one that is never freed: the process ends with its threads alive. */
    client = shard_client_new(CONFIG, strlen(CONFIG));
    CHECK(client != NULL && shard_client_start(client) == SHARD_OK);
    return 0;
}
