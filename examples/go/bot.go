// A Discord bot in Go on Shardwright's C ABI, by way of cgo: answers "!ping" with "Pong!".
// Build it with pkg-config finding shardwright, and run it with DISCORD_TOKEN set.
package main

/*
#cgo pkg-config: shardwright
#include <stdlib.h>
#include <shardwright.h>
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"
)

const config = `{"intents": ["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"],
	"events": ["MESSAGE_CREATE"], "log": {"to": "none"}}`

// check ends the program with what went wrong in the call just made. The text belongs to the thread of
// that call, and main is locked to one: a goroutine else changes threads as it likes.
func check(ok bool, what string) {
	if !ok {
		var why [512]C.char
		C.shard_last_error(&why[0], C.size_t(len(why)))
		log.Fatalf("%s: %s", what, C.GoString(&why[0]))
	}
}

func answer(client *C.shard_client, channel string) {
	command := []byte(fmt.Sprintf(`{"type": "rest", "method": "POST", "path": "/channels/%s/messages",
		"body": {"content": "Pong!"}}`, channel))
	// C may read Go's memory during the call, and the library keeps nothing of it.
	text := (*C.char)(unsafe.Pointer(&command[0]))
	check(C.send_command(client, text, C.size_t(len(command)), nil) == C.SHARD_OK, "send_command")
}

func onEvent(client *C.shard_client, event *C.shard_event) {
	var data struct {
		Content, Reason string
		ChannelID       string `json:"channel_id"`
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(event.data)), int(event.data_len)) // borrowed, not copied
	if err := json.Unmarshal(text, &data); err != nil && event.kind != C.SHARD_EVENT_REPLY {
		log.Print(err) // a reply may be any JSON; its status is enough here
		return
	}
	switch event.kind {
	case C.SHARD_EVENT_DISPATCH: // the only one asked for is MESSAGE_CREATE
		if data.Content == "!ping" {
			fmt.Printf("shard %d: !ping in channel %s, answering\n", event.shard_id, data.ChannelID)
			answer(client, data.ChannelID)
		}
	case C.SHARD_EVENT_REPLY:
		fmt.Printf("answered with status %d\n", event.status)
	case C.SHARD_EVENT_SHARD_STATE:
		if event.shard_id == C.SHARD_NONE {
			fmt.Println("all shards:", data.Reason)
		} else {
			name := C.GoStringN(event.name, C.int(event.name_len))
			fmt.Printf("shard %d: %s (%s)\n", event.shard_id, name, data.Reason)
		}
	case C.SHARD_EVENT_FATAL:
		log.Fatal("refused: ", data.Reason)
	}
}

func main() {
	runtime.LockOSThread()
	json := []byte(config)
	client := C.shard_client_new((*C.char)(unsafe.Pointer(&json[0])), C.size_t(len(json)))
	check(client != nil, "shard_client_new")
	defer C.shard_client_free(client)
	check(C.shard_client_start(client) == C.SHARD_OK, "shard_client_start")

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // a stop that does not wait: the poll below hands out what is left, then ends
		<-signals
		C.shard_client_stop(client, C.SHARD_STOP_CLOSE, 0)
	}()

	var event C.shard_event
	for polled := C.int32_t(0); polled != C.SHARD_E_CLOSED; {
		// This thread waits in C; other goroutines have theirs. Go's own signals may interrupt the wait.
		polled = C.poll_event(client, &event, -1)
		check(polled >= 0 || polled == C.SHARD_E_CLOSED || polled == C.SHARD_E_INTERRUPTED, "poll_event")
		if polled == 1 {
			onEvent(client, &event)
			C.shard_event_release(&event)
		}
	}
}
