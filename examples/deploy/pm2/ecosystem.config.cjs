// The bot in several processes under PM2, each with its part of the shards.
//
//     export DISCORD_TOKEN=…
//     pm2 start ecosystem.config.cjs
//
// One app for each worker, not one with `instances`: that way each has a name, a log and its shards for good.

const path = require("node:path");

const env = process.env;
const shards = Number(env.BOT_SHARDS ?? 4); // `shardwright plan` says how many
const workers = Number(env.BOT_WORKERS ?? 2);
const metricsPort = Number(env.BOT_METRICS_PORT ?? 9464); // of the first worker; 0: any that is free

/** The shards of a worker, as `shardwright plan` lays them out. */
function range(worker) {
  const from = Math.floor((shards * worker) / workers);
  const to = Math.floor((shards * (worker + 1)) / workers) - 1;
  return `${from}-${to}/${shards}`;
}

module.exports = {
  apps: Array.from({ length: workers }, (_, worker) => ({
    name: `bot-${worker}`,
    namespace: "bot", // `pm2 stop bot` is all of them
    script: path.join(__dirname, "../bot.py"),
    interpreter: env.BOT_PYTHON ?? "python3",
    env: {
      SHARDWRIGHT_SHARDS: range(worker),
      SHARDWRIGHT_BACKPLANE: env.SHARDWRIGHT_BACKPLANE ?? `sqlite:${path.join(__dirname, "bot.backplane")}`,
      SHARDWRIGHT_SESSIONS: "backplane",
      SHARDWRIGHT_WORKER: `bot-${worker}`, // in `shardwright top`
      METRICS_ADDRESS: `127.0.0.1:${metricsPort && metricsPort + worker}`,
      PYTHONUNBUFFERED: "1",
    },

    // It is up when the bot says so, which is when its shards are ready: they identify in turns.
    wait_ready: true,
    listen_timeout: 30 * 60 * 1000,
    // PM2 sends SIGINT, and SIGKILL after this long.
    kill_timeout: 30 * 1000,

    // Each start may cost an identify per shard, of 1,000 a day: later and later, and never when Discord refused the bot.
    exp_backoff_restart_delay: 1000,
    stop_exit_codes: [78],
  })),
};
