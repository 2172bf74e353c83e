// A bot on @discordjs/ws that is called for every event; with zlib-sync where that is asked for.

import { readFileSync } from 'node:fs';
import { REST } from '@discordjs/rest';
import { CompressionMethod, WebSocketManager, WebSocketShardEvents, version } from '@discordjs/ws';
import { GatewayIntentBits } from 'discord-api-types/v10';

const { BENCH_COMPRESSION, BENCH_EVENTS, DISCORD_TOKEN, SIMULATOR_API_URL } = process.env;
const compression = BENCH_COMPRESSION === 'zlib' ? CompressionMethod.ZlibSync : null;
// The version of the API is another option.
const rest = new REST({ version: '10', api: SIMULATOR_API_URL.replace(/\/v10$/, '') }).setToken(DISCORD_TOKEN);
const everything = Object.values(GatewayIntentBits).filter(Number.isInteger).reduce((all, bit) => all | bit);
const manager = new WebSocketManager({ token: DISCORD_TOKEN, rest, intents: everything, compression });

const events = Number(BENCH_EVENTS);
let left = events;
let cpu, wall;

const finish = () => {
    const { user, system } = process.cpuUsage(cpu); // all threads
    const took = (performance.now() - wall) / 1e3;
    const [, peak] = readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s*(\d+)/);
    const used = { client: `@discordjs/ws ${version}`, events, cpu_s: (user + system) / 1e6, wall_s: took };
    console.log(JSON.stringify({ ...used, peak_kib: Number(peak) }));
    process.exit(0);
};

manager.on(WebSocketShardEvents.Error, (error) => console.error(error));
manager.on(WebSocketShardEvents.Dispatch, ({ t }) => {
    if (t === 'READY' || t === 'GUILD_CREATE') return;
    if (left === events) {
        cpu = process.cpuUsage();
        wall = performance.now();
    }
    left -= 1;
    if (left === 0) finish();
});

await manager.connect();
