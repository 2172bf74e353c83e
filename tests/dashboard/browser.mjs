// Debian's Chromium on the dashboard's page, and what people do there.

import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

// Not an import: this one looks below NODE_PATH.
const { chromium } = createRequire(import.meta.url)('playwright-core');

/** Where the dashboard is, with a trailing slash; `?token=` too, where it asks for one. */
export const DASHBOARD = required('DASHBOARD_URL');
/** Where the pictures go. */
const FOLDER = process.env.SCREENSHOTS ?? 'target/dashboard';

const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync',
];

/** An environment variable that has to be there. */
export function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; tests/dashboard/test.sh sets it`);
  return value;
}

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });
}

/**
 * A page of its own, on a view: `fleet`, `shards/3`. Whatever the browser complains about is added to `complaints`.
 */
export async function visit(browser, view, { complaints = [], ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 1000 }, locale: 'en-US', timezoneId: 'Europe/Berlin', ...options,
  });
  const page = await context.newPage();
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.stack));
  await page.goto(new URL(`#/${view}`, DASHBOARD).href);
  await page.getByText('Live', { exact: false }).first().waitFor();
  return page;
}

/** What stands on a view once it has read what it shows. */
const READ = {
  'shards/1': '#shard .tail .note, #shard > .note:not([hidden])',
  history: '#history-note:not(:empty)',
  playground: '#chat-guild option',
};

/** Goes to a view, and waits until there is something to see. */
export async function show(page, view) {
  await page.evaluate((name) => { location.hash = `#/${name}`; }, view);
  const section = page.locator('main > section:not([hidden])');
  await section.and(page.locator(`#view-${view.startsWith('shards/') ? 'fleet' : view}`)).waitFor();
  if (READ[view]) await page.locator(READ[view]).first().waitFor({ state: 'attached' });
}

/** Keeps a picture: `target/dashboard/<name>.png`. */
export async function picture(page, name, options = {}) {
  mkdirSync(FOLDER, { recursive: true });
  await page.screenshot({ path: path.join(FOLDER, `${name}.png`), ...options });
}

/** The cell of a shard in the grid. */
export function cell(page, shard) {
  return page.getByRole('option', { name: new RegExp(`^Shard ${shard}: `) }).and(page.locator(':visible'));
}

/** Waits until there are so many shards, and all are ready. */
export async function allReady(page, count, timeout = 120_000) {
  await page.waitForFunction((wanted) => {
    const cells = [...document.querySelectorAll('.view:not([hidden]) [role="option"]')];
    return cells.length === wanted && cells.every(({ dataset }) => dataset.state === 'ready');
  }, count, { timeout });
}

/** Confirms what the dialog asks, once it says what it costs; resolves when it is done. */
export async function confirm(page, button, press = (locator) => locator.click()) {
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Takes about').waitFor();
  await press(dialog.getByRole('button', { name: button }));
  await dialog.getByText(/^(Done|Failed) after/).waitFor({ timeout: 120_000 });
  const progress = await dialog.getByRole('log').innerText();
  await dialog.getByRole('button', { name: 'Close' }).click();
  if (!/^Done after/m.test(progress)) throw new Error(`${button}: ${progress}`);
}
