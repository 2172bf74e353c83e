// Puts the page together: the stream feeds the state, the state the view that is shown, the address says which.

import { Actions } from './actions.js';
import { Announcer } from './announcer.js';
import { Banners } from './banners.js';
import { byId, setAttribute, setText } from './dom.js';
import { Fleet } from './fleet.js';
import * as format from './format.js';
import { History } from './history.js';
import { Incidents } from './incidents.js';
import { Jobs } from './jobs.js';
import { Log } from './log.js';
import { Messages } from './messages.js';
import { Playground } from './playground.js';
import { State } from './state.js';
import { Stream } from './stream.js';

const STATUS = { connecting: 'Connecting', live: 'Live', lost: 'Lost', refused: 'Signed out' };

const app = {
  state: new State(),
  banners: new Banners(byId('banners')),
  log: new Log(byId('log')),
  /** Opens the panel of a shard, or closes it for null. */
  open(shard, byKeyboard = false) {
    location.hash = shard === null ? '#/fleet' : `#/shards/${shard}`;
    route(byKeyboard);
  },
};
app.stream = new Stream(app.state, showStatus);
app.actions = new Actions(app);
const announcer = new Announcer(byId('announcer'));

const views = {
  fleet: new Fleet(app),
  history: new History(app),
  jobs: new Jobs(app),
  messages: new Messages(app),
  incidents: new Incidents(app),
  playground: new Playground(app),
};
let shown = null;
/** The address that was shown last. */
let routed = null;
let heading = '';

/** Shows the view that the address names: `#/history`, or `#/shards/7` for the fleet with a shard open. */
function route(byKeyboard = false) {
  routed = location.hash;
  const [, name, argument] = location.hash.split('/');
  const shard = name === 'shards' && /^\d{1,6}$/.test(argument) ? Number(argument) : undefined;
  const view = (shard === undefined && Object.hasOwn(views, name) && views[name]) || views.fleet;
  const moved = shown !== null && view !== shown;
  if (moved) shown.hide();
  for (const [key, other] of Object.entries(views)) {
    other.node.hidden = other !== view;
    const link = document.querySelector(`nav a[href="#/${key}"]`);
    setAttribute(link, 'aria-current', other === view ? 'page' : null);
    if (other === view) link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
  if (shown !== view) scrollTo(0, 0);
  shown = view;
  view.show(shard, byKeyboard);
  heading = shard === undefined ? view.title : `Shard ${shard}`;
  showTitle();
}

/** Says in the tab of the browser what is wrong, for those who look at something else. */
function showTitle() {
  const { shards = 0, states = {} } = app.state.value?.totals ?? {};
  const away = shards - (states.ready ?? 0);
  const title = `${away > 0 ? `${format.number(away)} not ready · ` : ''}${heading} · Shardwright`;
  if (document.title !== title) document.title = title;
}

function update(changes) {
  const { value } = app.state;
  document.body.dataset.role = app.state.role;
  shown.update(value, changes);
  app.actions.update(value, changes);
  if (changes.has('sources')) app.banners.sources(value.sources);
  if (changes.has('totals')) {
    announcer.say(value);
    showTitle();
  }
  if (changes.has('bot')) setText(byId('versions'), value.bot.versions.length ? `Version ${value.bot.versions.join(' and ')}` : '');
  if (changes.has('jobs')) {
    const dead = Object.values(value.jobs).reduce((sum, jobs) => sum + jobs.dead, 0);
    byId('dead-count').hidden = dead === 0;
    setText(byId('dead-count'), `${format.short(dead)} dead`);
  }
  if (changes.all || changes.has('playground')) document.querySelector('nav a[href="#/playground"]').hidden = !value.playground;
}

function showStatus() {
  const { status } = app.stream;
  byId('live').dataset.status = status;
  setText(byId('live'), status === 'live' && !app.state.operates ? 'Live, view only' : STATUS[status]);
  document.body.dataset.stream = status;
  app.banners.stream(app.stream);
}

// A plain link would be taken for the name of a view.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
});
setText(byId('zone'), format.zone());
addEventListener('hashchange', () => location.hash === routed || route());
app.state.listen(update);
setInterval(() => app.stream.status === 'lost' && app.banners.stream(app.stream), 1000);
route();
app.stream.connect();
