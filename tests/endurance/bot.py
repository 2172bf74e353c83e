#!/usr/bin/env python3
"""A worker of run.py: writes down the number of each message when it is done with it."""

import os
import sys

from shardwright import Client

taken = open(os.path.join(sys.argv[1], str(os.getpid())), "a", buffering=1)
client = Client(intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"], events=["MESSAGE_CREATE"],
                delivery="at_least_once")


@client.on("MESSAGE_CREATE")
async def done(event):
    taken.write(f"{event.data['nonce']} {int(event.replayed)}\n")


# Until SIGTERM, which leaves the sessions for the next one.
client.run()
