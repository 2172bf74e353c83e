// Numbers in the reader's locale, times in the reader's zone.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat(undefined, { notation: 'compact', maximumSignificantDigits: 3 });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'always', style: 'short' });
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const hours = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const moment = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit',
  timeZoneName: 'short',
});
const date = new Intl.DateTimeFormat(undefined, { weekday: 'long', month: 'long', day: 'numeric' });
const numerals = new Intl.Collator(undefined, { numeric: true });

/** What stands where nothing is known. */
export const NOTHING = '–';

/** `2,000`. */
export function number(value) {
  return Number.isFinite(value) ? whole.format(value) : NOTHING;
}

/** `2,000` and, from 100,000 on, `1.2M`. */
export function short(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return Math.abs(value) < 100_000 ? whole.format(value) : compact.format(value);
}

/** Events per second: `0.4`, `310`, `12K`. */
export function rate(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return Math.abs(value) < 100 ? tenths.format(value) : short(value);
}

/** `41 ms`, `< 1 ms`. */
export function milliseconds(value) {
  if (value === 0) return '< 1 ms';
  return Number.isFinite(value) ? `${whole.format(value)} ms` : NOTHING;
}

/** `1.5 %`. */
export function percent(value) {
  return Number.isFinite(value) ? `${tenths.format(value)} %` : NOTHING;
}

/** `23 MB`. */
export function bytes(value) {
  if (!Number.isFinite(value)) return NOTHING;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let left = value;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${(left < 10 && unit > 0 ? tenths : whole).format(left)} ${units[unit]}`;
}

/** How long: `7 s`, `3 min`, `2 h 5 min`, `4 d 2 h`. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return NOTHING;
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  if (seconds < 100) return `${whole.format(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** `5 min. ago`, or `in 3 hr.`. */
export function ago(at, now = Date.now()) {
  const seconds = Math.round((at - now) / 1000);
  const size = Math.abs(seconds);
  if (size < 60) return relative.format(seconds, 'second');
  if (size < 3600) return relative.format(Math.round(seconds / 60), 'minute');
  if (size < 86_400) return relative.format(Math.round(seconds / 3600), 'hour');
  return relative.format(Math.round(seconds / 86_400), 'day');
}

/** `14:13:20`. */
export function clock(at) {
  return time.format(at);
}

/** `14:13`. */
export function hour(at) {
  return hours.format(at);
}

/** `Nov 22, 2026, 14:13:20 GMT+1`. */
export function when(at) {
  return moment.format(at);
}

/** `Sunday, November 22`. */
export function day(at) {
  return date.format(at);
}

/** `Europe/Berlin (GMT+1)`. */
export function zone() {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  const name = moment.formatToParts(Date.now()).find((part) => part.type === 'timeZoneName')?.value;
  return name && name !== timeZone ? `${timeZone} (${name})` : timeZone;
}

/** `1 shard`, `2,000 shards`. */
export function plural(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** The order of names with numbers in them: `worker 2` before `worker 10`. */
export function inOrder(left, right) {
  return numerals.compare(left, right);
}
