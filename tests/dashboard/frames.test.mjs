// How the page bears many shards that all change: frame times, blocked time, bytes of the stream. Measured and printed;
// how fast a machine is, is no property of the page. test.sh starts the fleet and sets the environment:
//   DASHBOARD_URL  the dashboard
//   SHARDS         how many shards it shows
//   SECONDS        how long to look; 15 without it

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DASHBOARD, launch, picture, required } from './browser.mjs';

const SHARDS = Number(required('SHARDS'));
const SECONDS = Number(process.env.SECONDS ?? 15);

test(`frames with ${SHARDS} shards`, async (t) => {
  const browser = await launch();
  t.after(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1440, height: 1000 }, colorScheme: 'dark' });
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  const messages = [];
  network.on('Network.webSocketFrameReceived', ({ response }) => messages.push(Buffer.byteLength(response.payloadData)));

  await page.goto(DASHBOARD);
  await page.waitForFunction((count) => document.querySelectorAll('#grid [role="option"]').length === count, SHARDS);
  const [snapshot] = messages.splice(0);
  const { frames, blocked } = await page.evaluate((seconds) => new Promise((resolve) => {
    const frames = [];
    let blocked = 0;
    new PerformanceObserver((list) => {
      list.getEntries().forEach(({ duration }) => { blocked = Math.max(blocked, duration); });
    }).observe({ type: 'longtask' });
    const end = performance.now() + seconds * 1000;
    let before = performance.now();
    requestAnimationFrame(function frame(now) {
      frames.push(now - before);
      before = now;
      if (now < end) requestAnimationFrame(frame);
      else resolve({ frames, blocked });
    });
  }), SECONDS);
  await picture(page, `fleet-${SHARDS}`);

  frames.sort((left, right) => left - right);
  const quantile = (share) => frames[Math.floor((frames.length - 1) * share)].toFixed(0);
  const bytes = messages.reduce((sum, size) => sum + size, 0);
  console.log(`${SHARDS} shards, ${SECONDS} s: ${frames.length} frames; ms per frame: median ${quantile(0.5)}, `
    + `95 % ${quantile(0.95)}, 99 % ${quantile(0.99)}, longest ${quantile(1)}; longest task ${blocked.toFixed(0)} ms`);
  console.log(`the stream: a snapshot of ${snapshot} bytes, then ${messages.length} messages, `
    + `${Math.round(bytes / SECONDS)} bytes per second before compression`);
  assert.ok(messages.length > 0, 'nothing came over the stream, so nothing was measured');
});
