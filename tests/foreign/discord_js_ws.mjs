// A bot on @discordjs/ws and @discordjs/rest. What it prints is for clients.py to check.

import { REST } from '@discordjs/rest';
import { WebSocketManager, WebSocketShardEvents, version } from '@discordjs/ws';
import { GatewayIntentBits } from 'discord-api-types/v10';

const token = process.env.DISCORD_TOKEN;
// The version of the API is another option.
const api = process.env.SIMULATOR_API_URL.replace(/\/v10$/, '');
const rest = new REST({ version: '10', api }).setToken(token);
const everything = Object.values(GatewayIntentBits).filter(Number.isInteger).reduce((all, bit) => all | bit);
const manager = new WebSocketManager({ token, rest, intents: everything });

const pong = async (message, shard) => {
    const reply = await rest.post(`/channels/${message.channel_id}/messages`, { body: { content: 'Pong!' } });
    console.log(`shard ${shard}: sent ${reply.id}`);
};

manager.on(WebSocketShardEvents.Ready, (_, shard) => console.log(`shard ${shard}: ready`));
manager.on(WebSocketShardEvents.Resumed, (shard) => console.log(`shard ${shard}: resumed`));
manager.on(WebSocketShardEvents.Error, (error, shard) => console.log(`shard ${shard}:`, error));
manager.on(WebSocketShardEvents.Dispatch, ({ t, d }, shard) => {
    if (d?.nonce) console.log(`event ${d.nonce}`);
    if (t === 'MESSAGE_CREATE' && d.content === '!ping') pong(d, shard);
});

console.log(`client @discordjs/ws ${version}`);
process.once('SIGTERM', () => manager.destroy());
await manager.connect();
