// An operator's day on the dashboard of a cluster that runs against the simulated Discord. What it needs stands in the
// environment, as test.sh sets it:
//   DASHBOARD_URL  the dashboard, for somebody who may operate
//   SIMULATOR_URL  the simulated Discord
//   SHARDS         how many shards the cluster starts with
//   RESHARD        and how many it is told to have then

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { DASHBOARD, allReady, cell, confirm, launch, picture, required, show, visit } from './browser.mjs';

const SIMULATOR = required('SIMULATOR_URL');
const SHARDS = Number(required('SHARDS'));
const RESHARD = Number(required('RESHARD'));
const VIEWS = ['fleet', 'shards/1', 'history', 'jobs', 'messages', 'incidents', 'playground'];
const PAGE_BYTES = 300_000;

const complaints = [];
let browser;
let page;

before(async () => {
  browser = await launch();
  page = await visit(browser, 'fleet', { complaints, colorScheme: 'dark' });
});
after(() => browser?.close());

/** Tells the simulated Discord what to do. */
async function simulate(action) {
  const response = await fetch(new URL('/sim/do', SIMULATOR), { method: 'POST', body: JSON.stringify(action) });
  assert.ok(response.ok, `the simulator answered ${response.status}: ${await response.text()}`);
}

/** Goes to a view as people do. */
async function go(view) {
  await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: view }).click();
  await page.getByRole('heading', { name: view, exact: true, level: 1 }).waitFor({ state: 'attached' });
}

test('the shards come up', async () => {
  await allReady(page, SHARDS);
  const totals = page.locator('#totals');
  assert.match(await totals.innerText(), new RegExp(`Shards ready\\s+${SHARDS} of ${SHARDS}`));
  assert.match(await totals.innerText(), /Identifies left\s+[\d,]+ of [\d,]+\s+reset/);
  assert.match(await page.getByRole('contentinfo').innerText(), /Times are in Europe\/Berlin \((CET|CEST|GMT\+[12])\)/);
});

test('one is dropped, heals, and it is said in words', async () => {
  await cell(page, 1).click();
  const panel = page.getByRole('complementary', { name: 'Shard 1' });
  await panel.getByText('receives events').waitFor();
  await simulate({ do: 'close', target: { shard: 1 }, code: 4000, reason: 'maintenance' });
  await panel.getByText(/1 × the gateway closed it/).waitFor();
  await go('Incidents');
  await page.getByRole('listitem').filter({ hasText: /4000/ }).first().waitFor();
  assert.match(await page.locator('#timeline').innerText(), /shard 1\b.*4000.*resumed in.*, 0 events lost/i);
  await picture(page, 'incidents-dark');
  await go('Fleet');
  await allReady(page, SHARDS);
});

test('a shard is restarted with the mouse', async () => {
  await cell(page, 2).click();
  await page.getByRole('button', { name: 'Restart, resume' }).click();
  await page.getByRole('dialog').getByText('Takes about').waitFor();
  await picture(page, 'confirm-dark');
  await confirm(page, 'Restart shard 2');
  await page.getByRole('complementary', { name: 'Shard 2' }).getByText(/1 resumed/).waitFor();
  await allReady(page, SHARDS);
});

test('a shard is restarted with the keyboard alone', async () => {
  await go('Fleet');
  // The tab key finds the grid, arrows a shard, Enter its panel.
  await page.locator('#shards-title').evaluate((node) => getSelection().setBaseAndExtent(node, 0, node, 0));
  for (let presses = 0; presses < 20; presses += 1) {
    if (await page.evaluate(() => document.activeElement.getAttribute('role') === 'option')) break;
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.shard), '3');
  await page.keyboard.press('Enter');
  const panel = page.getByRole('complementary', { name: 'Shard 3' });
  await panel.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Shard 3');

  const press = async (button) => {
    for (let presses = 0; presses < 12; presses += 1) {
      if (await button.evaluate((node) => node === document.activeElement)) return page.keyboard.press('Enter');
      await page.keyboard.press('Tab');
    }
    assert.fail('the tab key does not reach the button');
  };
  await press(panel.getByRole('button', { name: 'Restart, identify anew' }));
  await confirm(page, 'Identify shard 3 anew', press);
  await panel.getByText(/2 identified/).waitFor();
  await panel.getByRole('heading').first().focus();
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.shard), '3', 'the focus comes back');
  await allReady(page, SHARDS);
});

test('a dead job is retried', async () => {
  await go('Jobs');
  const retry = page.getByRole('button', { name: /^Retry job / }).first();
  await retry.waitFor();
  const name = await retry.getAttribute('aria-label');
  await picture(page, 'jobs-dark');
  await retry.click();
  await confirm(page, name);
  await page.getByRole('button', { name, exact: true }).waitFor({ state: 'detached' });
});

test('a message is published', async () => {
  await go('Messages');
  await page.getByLabel('Topic').fill('reload');
  await page.getByLabel('Data, as JSON').fill('{"what": ');
  await page.getByRole('button', { name: 'Publish…' }).click();
  await page.getByRole('alert').filter({ hasText: 'The data is not JSON' }).waitFor();
  await page.getByLabel('Data, as JSON').fill('{"what": "settings"}');
  await page.getByRole('button', { name: 'Publish…' }).click();
  await confirm(page, 'Publish to reload');
  await page.getByRole('listitem').filter({ hasText: '"settings"' }).first().waitFor();
});

test('in the playground !ping gets its Pong!, and what is broken heals', async () => {
  await go('Playground');
  const said = page.getByRole('log', { name: 'Messages of the channel' });
  await page.getByLabel('Message', { exact: true }).fill('!ping');
  await page.keyboard.press('Enter');
  await said.getByText('Pong!').last().waitFor();
  await cell(page, 1).click();
  await page.getByRole('button', { name: /^Outage/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('#view-playground .cell:not([data-state="ready"])').length > 0);
  await picture(page, 'playground-broken');
  await page.getByRole('log', { name: 'What happens' }).getByText(/all are ready again/).first().waitFor({ timeout: 120_000 });
  await picture(page, 'playground-healed');
});

test('the bot is resharded', async () => {
  await go('Fleet');
  await page.getByRole('button', { name: 'Reshard…' }).click();
  await page.getByRole('dialog').getByLabel('Shards', { exact: true }).fill(String(RESHARD));
  await confirm(page, `Reshard to ${RESHARD} shards`);
  await allReady(page, RESHARD);
  await page.getByRole('button', { name: /^Actions/ }).click();
  await page.locator('#tray').getByText(/done/).first().waitFor();
  await picture(page, 'actions-dark');
  await page.keyboard.press('Escape');
});

test('a lost stream is said, comes back by itself, and goes on where it was', async () => {
  const context = await browser.newContext();
  const cut = await context.newPage();
  const opened = [];
  let reachable = true;
  let socket;
  let resume;
  const resumed = new Promise((resolve) => { resume = resolve; });
  await cut.routeWebSocket(/\/api\/v1\/stream/, (here) => {
    opened.push(new URL(here.url()).searchParams);
    if (!reachable) return here.close();
    socket = here;
    here.connectToServer().onMessage((message) => {
      here.send(message);
      if (JSON.parse(message).type === 'resumed') resume();
    });
  });
  await cut.goto(DASHBOARD);
  await allReady(cut, RESHARD);
  reachable = false;
  await socket.close();
  const banner = cut.getByRole('status').filter({ hasText: 'The connection to the dashboard is lost' });
  await banner.waitFor();
  await cut.getByText('Lost', { exact: true }).waitFor();
  reachable = true;
  await resumed;
  await cut.getByText('Live', { exact: true }).waitFor();
  await banner.waitFor({ state: 'detached' });
  assert.equal(opened[0].has('seq'), false);
  assert.match(opened.at(-1).get('seq'), /^\d+$/);
  await context.close();
});

test('who may only look is offered nothing to do', async () => {
  const context = await browser.newContext();
  const viewer = await context.newPage();
  await viewer.routeWebSocket(/\/api\/v1\/stream/, (here) => {
    here.connectToServer().onMessage((message) => here.send(message.replace('"role":"operate"', '"role":"view"')));
  });
  await viewer.goto(DASHBOARD);
  await viewer.getByText('Live, view only').waitFor();
  for (const view of VIEWS) {
    await show(viewer, view);
    const offered = viewer.getByRole('button', { name: /Restart|Pause|Reshard|Deploy|Publish|Retry|Send|Outage/ });
    assert.equal(await offered.count(), 0, view);
  }
  await context.close();
});

test('light and dark are what the system says, until the reader chooses', async () => {
  const reader = await visit(browser, 'fleet', { complaints, colorScheme: 'dark' });
  const paper = () => reader.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const toggle = reader.getByRole('button', { name: 'Dark colours' });
  const dark = await paper();
  assert.equal(await toggle.getAttribute('aria-pressed'), 'true');
  await toggle.click();
  const light = await paper();
  assert.notEqual(light, dark);
  await reader.reload();
  assert.equal(await paper(), light, 'the choice is kept');
  assert.equal(await toggle.getAttribute('aria-pressed'), 'false');
  await reader.context().close();
});

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
for (const colorScheme of ['dark', 'light']) {
  test(`nobody is kept out: no serious violation in ${colorScheme}`, async () => {
    // The page's own policy forbids scripts that are not its own, also axe's.
    const checked = await visit(browser, 'fleet', { complaints, colorScheme, bypassCSP: true });
    await allReady(checked, RESHARD);
    await checked.evaluate(axe);
    for (const view of VIEWS) {
      await show(checked, view);
      await judge(checked, view);
      await picture(checked, `${view.replace('/', '-')}-${colorScheme}`);
    }
    await show(checked, 'shards/1');
    await checked.getByRole('button', { name: 'Restart, resume' }).click();
    await checked.getByRole('dialog').getByText('Takes about').waitFor();
    await judge(checked, 'the dialog');
    await checked.context().close();
  });
}

/** Fails with what axe finds serious or critical. */
async function judge(checked, what) {
  const { violations } = await checked.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const said = serious.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`));
  assert.deepEqual(said, [], what);
}

test('it fits a phone', async () => {
  const phone = await visit(browser, 'fleet', { complaints, colorScheme: 'light', viewport: { width: 360, height: 740 } });
  await allReady(phone, RESHARD);
  for (const view of VIEWS) {
    await show(phone, view);
    assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} is wider than the screen`);
    await picture(phone, `${view.replace('/', '-')}-phone`);
  }
  // There the panel takes the place of the grid, and gives it back.
  await show(phone, 'fleet');
  await cell(phone, 2).click();
  await phone.getByRole('heading', { name: 'Shard 2' }).and(phone.locator(':focus')).waitFor();
  await phone.getByRole('button', { name: 'Close' }).click();
  await cell(phone, 2).and(phone.locator(':focus')).waitFor();
  await phone.context().close();
});

test(`the page weighs less than ${PAGE_BYTES} bytes, and comes from nowhere else`, async () => {
  const weighed = await browser.newPage();
  const weights = [];
  weighed.on('response', (response) => weights.push({ response, url: response.url() }));
  await weighed.goto(DASHBOARD);
  await weighed.getByText('Live').first().waitFor();
  let bytes = 0;
  for (const { response, url } of weights) {
    assert.equal(new URL(url).origin, new URL(DASHBOARD).origin);
    if (!new URL(url).pathname.startsWith('/api/')) bytes += (await response.body()).length;
  }
  console.log(`page: ${bytes} bytes in ${weights.length} requests`);
  assert.ok(bytes > 0 && bytes < PAGE_BYTES, `it weighs ${bytes} bytes`);
  await weighed.close();
});

test('the browser had nothing to complain about', () => {
  assert.deepEqual(complaints, []);
});
