//! Who may send now: Discord's rate limits, in virtual time.
//!
//! No IO, no clock: requests enter and get a ticket; [`Limiter::poll`] tells whose turn it is, and
//! [`Limiter::poll_timeout`] when to ask again; what became of a request comes back with
//! [`Limiter::answered`] and its siblings. What a limit is worth is the business of
//! [`Bucket`](super::bucket::Bucket), what holds for all of them that of
//! [`Lane`](super::lane::Lane); here is who belongs to which, and the order: the oldest ticket that
//! nothing holds back goes first.
//!
//! Routes and limits find each other through the answers. Until the first one a route has a bucket
//! of its own. Then Discord names the limit, routes with the same name and the same resource share a
//! bucket, and the name is remembered for the same route on other resources.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use http::Method;

use super::answer::{Answer, RateLimitScope};
use super::bucket::{Bucket, MARGIN, Mark, Permit, Place};
use super::guard::{InvalidRequests, TokenHealth};
use super::lane::{ARRIVES_WITHIN, Lane, LaneId};
use super::route::Route;
use crate::config::{MAX_REST_BUCKETS, MAX_REST_REQUESTS};

/// A place in line. Lower ones came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// A bucket of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BucketId(u64);

/// What the limiter tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// This one's turn: it is counted as sent.
    Granted(Ticket),
    /// This one left the line, because Discord does not take the token any more.
    Unauthorized(Ticket),
    /// Nothing goes out for a while, because too many requests were invalid.
    TooManyInvalid {
        /// Invalid requests in ten minutes.
        count: u32,
        /// When it goes on.
        until: Instant,
    },
}

/// The rate limits of one bot.
pub(super) struct Limiter {
    /// The next free ticket.
    next_ticket: u64,
    /// The next free bucket.
    next_bucket: u64,
    /// The routes of those in line.
    waiting: BTreeMap<Ticket, Arc<Route>>,
    /// Requests on the wire.
    flying: HashMap<Ticket, Flight>,
    /// Requests that nobody waits for any more, but which Discord may be about to count.
    ghosts: VecDeque<(Instant, Flight)>,
    /// All buckets.
    buckets: HashMap<BucketId, Bucket>,
    /// The bucket of each route.
    routes: HashMap<Arc<Route>, BucketId>,
    /// The buckets that Discord named, by that and the resource.
    names: HashMap<(Box<str>, Box<str>), BucketId>,
    /// What Discord calls the limit of a method and template, whatever the resource.
    templates: HashMap<(Method, Box<str>), Box<str>>,
    /// Requests counted for the bot, for the address, and for nobody.
    lanes: [Lane; 3],
    /// Buckets that may send from a moment on.
    blocked: BTreeSet<(Instant, BucketId)>,
    /// The way to a ban.
    invalid: InvalidRequests,
    /// The last hold for invalid requests that was told of.
    announced: Option<Instant>,
    /// Whether the token is any good.
    token: TokenHealth,
}

/// A request on the wire.
struct Flight {
    ticket: Ticket,
    route: Arc<Route>,
    bucket: BucketId,
    mark: Mark,
}

impl Limiter {
    /// A limiter that has seen nothing.
    pub(super) fn new() -> Self {
        Self {
            next_ticket: 0,
            next_bucket: 0,
            waiting: BTreeMap::new(),
            flying: HashMap::new(),
            ghosts: VecDeque::new(),
            buckets: HashMap::new(),
            routes: HashMap::new(),
            names: HashMap::new(),
            templates: HashMap::new(),
            lanes: [LaneId::Bot, LaneId::Webhook, LaneId::Interaction].map(Lane::new),
            blocked: BTreeSet::new(),
            invalid: InvalidRequests::default(),
            announced: None,
            token: TokenHealth::default(),
        }
    }

    /// Requests in line.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests on the wire.
    pub(super) fn flying(&self) -> usize {
        self.flying.len()
    }

    /// A request gets in line.
    pub(super) fn enter(&mut self, route: &Arc<Route>, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.enter_again(ticket, route, now);
        ticket
    }

    /// A request gets in line that was there before: in its old place, ahead of all that came later.
    pub(super) fn enter_again(&mut self, ticket: Ticket, route: &Arc<Route>, now: Instant) {
        let bucket = self.bucket_of(route, now);
        self.waiting.insert(ticket, Arc::clone(route));
        if let Some(bucket) = self.buckets.get_mut(&bucket) {
            bucket.queue.insert(ticket);
        }
        self.place(bucket, now);
    }

    /// A request leaves the line.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Instant) {
        let Some(route) = self.waiting.remove(&ticket) else { return };
        let Some(id) = self.routes.get(&route).copied() else { return };
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.queue.remove(&ticket);
        }
        self.place(id, now);
    }

    /// A request whose turn it was never left for Discord.
    pub(super) fn unsent(&mut self, ticket: Ticket, now: Instant) {
        let Some(flight) = self.flying.remove(&ticket) else { return };
        self.lane(flight.route.lane).take_back(ticket, flight.mark.sent_at);
        if let Some(bucket) = self.buckets.get_mut(&flight.bucket) {
            bucket.take_back();
        }
        self.place(flight.bucket, now);
    }

    /// A request was sent, and there will be no answer.
    pub(super) fn unanswered(&mut self, ticket: Ticket, now: Instant) {
        if let Some(flight) = self.flying.remove(&ticket) {
            self.ghosts.push_back((now + ARRIVES_WITHIN, flight));
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: &Answer, now: Instant) {
        let Some(flight) = self.flying.remove(&ticket) else { return };
        if answer.is_invalid() {
            self.invalid.count(now);
        }
        if flight.route.lane == LaneId::Bot {
            self.token.learn(answer.status, now);
        }
        self.finish(&flight, now);
        let name = answer.limits.as_ref().and_then(|limits| limits.bucket.as_deref());
        let id = match name {
            Some(name) => self.rename(&flight.route, name, now),
            None => self.bucket_of(&flight.route, now),
        };
        let sent_here = id == flight.bucket;
        if answer.limits.is_none() || !sent_here {
            self.learn_nothing(&flight, now);
        }
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        match &answer.limits {
            Some(limits) => bucket.learn(flight.mark, sent_here, limits, now),
            None if answer.is_conclusive() => bucket.learn_unlimited(),
            None => {}
        }
        if let Some(refused) = answer.rate_limited {
            let until = now + refused.retry_after + MARGIN;
            match refused.scope {
                RateLimitScope::User | RateLimitScope::Shared => bucket.hold(until),
                RateLimitScope::Global => self.lane(flight.route.lane).hold(until),
                RateLimitScope::Cloudflare => {
                    self.lanes.iter_mut().for_each(|lane| lane.hold(until));
                }
            }
        }
        self.place(id, now);
    }

    /// Until when Discord's 429s keep the requests of a route back.
    pub(super) fn held_until(&self, route: &Arc<Route>) -> Option<Instant> {
        let bucket = self.routes.get(route).and_then(|id| self.buckets.get(id));
        let of_bucket = bucket.and_then(Bucket::held_until);
        of_bucket.max(self.lanes[route.lane as usize].held_until())
    }

    /// The next thing to tell somebody; ask until there is none.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Event> {
        self.refresh(now);
        if self.token.is_dead(now) {
            let doomed = self.waiting.iter().find(|(_, route)| route.lane == LaneId::Bot);
            if let Some((ticket, _)) = doomed {
                let ticket = *ticket;
                self.leave(ticket, now);
                return Some(Event::Unauthorized(ticket));
            }
        }
        if self.flying.len() >= MAX_REST_REQUESTS {
            return None;
        }
        loop {
            let open = self.lanes.iter().filter(|lane| lane.opens_at().is_none());
            let (ticket, id) = open.filter_map(|lane| lane.ready.first_key_value()).min()?;
            let (ticket, id) = (*ticket, *id);
            if let Some(until) = self.invalid.opens_at() {
                if self.announced == Some(until) {
                    return None;
                }
                self.announced = Some(until);
                return Some(Event::TooManyInvalid { count: self.invalid.total(), until });
            }
            if !self.adopt_name(ticket, id, now) {
                return self.grant(ticket, id, now);
            }
        }
    }

    /// When to ask [`Limiter::poll`] again although nobody came or left.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let blocked = self.blocked.first().map(|(at, _)| *at);
        let ghost = self.ghosts.front().map(|(at, _)| *at);
        let lanes = self.lanes.iter().filter(|lane| !lane.ready.is_empty());
        let lanes = lanes.filter_map(|lane| lane.opens_at().max(self.invalid.opens_at()));
        // With all places on the wire taken, it is an answer that is waited for.
        let lanes = lanes.filter(|_| self.flying.len() < MAX_REST_REQUESTS);
        lanes.chain(blocked).chain(ghost).min()
    }

    /// Sends off the head of a bucket.
    fn grant(&mut self, ticket: Ticket, id: BucketId, now: Instant) -> Option<Event> {
        let route = self.waiting.remove(&ticket)?;
        let bucket = self.buckets.get_mut(&id)?;
        bucket.queue.remove(&ticket);
        let mark = bucket.send(now);
        self.lane(route.lane).send(ticket, now);
        self.flying.insert(ticket, Flight { ticket, route, bucket: id, mark });
        self.place(id, now);
        Some(Event::Granted(ticket))
    }

    /// Lets time pass.
    fn refresh(&mut self, now: Instant) {
        self.lanes.iter_mut().for_each(|lane| lane.refresh(now));
        self.invalid.refresh(now);
        while let Some((_, ghost)) = self.ghosts.pop_front_if(|(at, _)| *at <= now) {
            self.finish(&ghost, now);
            self.learn_nothing(&ghost, now);
        }
        while let Some((_, id)) = self.blocked.first().copied().filter(|(at, _)| *at <= now) {
            self.place(id, now);
        }
    }

    /// Takes a request off the counts.
    fn finish(&mut self, flight: &Flight, now: Instant) {
        self.lane(flight.route.lane).finish(flight.ticket, flight.mark.sent_at, now);
        if let Some(bucket) = self.buckets.get_mut(&flight.bucket) {
            bucket.finish(now);
        }
        self.place(flight.bucket, now);
    }

    /// Tells the bucket of a request that no answer speaks of it.
    fn learn_nothing(&mut self, flight: &Flight, now: Instant) {
        if let Some(bucket) = self.buckets.get_mut(&flight.bucket) {
            bucket.learn_nothing(now);
        }
        self.place(flight.bucket, now);
    }

    /// Puts a bucket where it belongs now. Whatever changes a bucket ends with this.
    fn place(&mut self, id: BucketId, now: Instant) {
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        let lane = &mut self.lanes[bucket.lane as usize];
        match bucket.place {
            Place::Aside => {}
            Place::Ready(ticket) => drop(lane.ready.remove(&ticket)),
            Place::Blocked(at) => drop(self.blocked.remove(&(at, id))),
        }
        let permit = bucket.permit(now);
        bucket.place = match (bucket.queue.first(), permit) {
            (None, _) | (_, Permit::AfterAnswer) => Place::Aside,
            (Some(ticket), Permit::Now) => Place::Ready(*ticket),
            (Some(_), Permit::At(at)) => Place::Blocked(at),
        };
        match bucket.place {
            Place::Aside => {}
            Place::Ready(ticket) => drop(lane.ready.insert(ticket, id)),
            Place::Blocked(at) => drop(self.blocked.insert((at, id))),
        }
    }

    /// The lane of this name.
    fn lane(&mut self, id: LaneId) -> &mut Lane {
        &mut self.lanes[id as usize]
    }

    /// The bucket of a route; a new one, if there is none.
    fn bucket_of(&mut self, route: &Arc<Route>, now: Instant) -> BucketId {
        if let Some(id) = self.routes.get(route) {
            return *id;
        }
        let template = (route.method.clone(), route.template.clone());
        let id = match self.templates.get(&template).cloned() {
            Some(name) => self.named(name, route, now),
            None => self.create(route.lane, false, now),
        };
        self.routes.insert(Arc::clone(route), id);
        id
    }

    /// The bucket that Discord calls so; a new one, if there is none.
    fn named(&mut self, name: Box<str>, route: &Route, now: Instant) -> BucketId {
        let key = (name, route.resource.clone());
        if let Some(id) = self.names.get(&key) {
            return *id;
        }
        let id = self.create(route.lane, true, now);
        self.names.insert(key, id);
        id
    }

    /// Notes that Discord counts a route in the bucket of this name, and moves who waits for it there.
    fn rename(&mut self, route: &Arc<Route>, name: &str, now: Instant) -> BucketId {
        let template = (route.method.clone(), route.template.clone());
        if self.templates.get(&template).is_none_or(|known| **known != *name) {
            self.templates.insert(template, name.into());
        }
        let old = self.bucket_of(route, now);
        let key = (Box::from(name), route.resource.clone());
        if self.names.get(&key) == Some(&old) {
            return old;
        }
        if let Some(bucket) = self.buckets.get_mut(&old).filter(|bucket| !bucket.named)
            && !self.names.contains_key(&key)
        {
            bucket.named = true;
            self.names.insert(key, old);
            return old;
        }
        let new = self.named(key.0, route, now);
        self.routes.insert(Arc::clone(route), new);
        self.move_queue(route, old, new, now);
        new
    }

    /// Names the bucket of a request whose turn it would be, if other resources have told meanwhile
    /// what the limit of such routes is called: it may be used up already.
    fn adopt_name(&mut self, ticket: Ticket, id: BucketId, now: Instant) -> bool {
        if self.buckets.get(&id).is_none_or(|bucket| bucket.named) {
            return false;
        }
        let Some(route) = self.waiting.get(&ticket).map(Arc::clone) else { return false };
        let template = (route.method.clone(), route.template.clone());
        let Some(name) = self.templates.get(&template).cloned() else { return false };
        self.rename(&route, &name, now);
        true
    }

    /// Moves all who wait for a route from one bucket to another.
    fn move_queue(&mut self, route: &Arc<Route>, from: BucketId, to: BucketId, now: Instant) {
        let Some(bucket) = self.buckets.get_mut(&from) else { return };
        let waiting = &self.waiting;
        let of_route = |ticket: &Ticket| waiting.get(ticket).is_some_and(|other| other == route);
        let moving: Vec<Ticket> = bucket.queue.iter().copied().filter(of_route).collect();
        for ticket in &moving {
            bucket.queue.remove(ticket);
        }
        let obsolete = !bucket.named;
        self.place(from, now);
        if obsolete {
            self.buckets.remove(&from);
        }
        if let Some(bucket) = self.buckets.get_mut(&to) {
            bucket.queue.extend(moving);
        }
        self.place(to, now);
    }

    /// A new bucket.
    fn create(&mut self, lane: LaneId, named: bool, now: Instant) -> BucketId {
        if self.buckets.len().max(self.routes.len()) >= MAX_REST_BUCKETS {
            self.forget(now);
        }
        let id = BucketId(self.next_bucket);
        self.next_bucket += 1;
        self.buckets.insert(id, Bucket::new(lane, named));
        id
    }

    /// Forgets buckets that nobody uses, a quarter of them or more: those first that know nothing,
    /// then the oldest.
    fn forget(&mut self, now: Instant) {
        let mut unused: Vec<_> = self
            .buckets
            .iter_mut()
            .filter(|(_, bucket)| !bucket.is_used())
            .map(|(id, bucket)| (bucket.is_telling(now), *id))
            .collect();
        unused.sort_unstable();
        let useless = unused.partition_point(|(is_telling, _)| !is_telling);
        unused.truncate(useless.max(MAX_REST_BUCKETS / 4));
        for (_, id) in unused {
            self.buckets.remove(&id);
        }
        let buckets = &self.buckets;
        self.routes.retain(|_, id| buckets.contains_key(id));
        self.names.retain(|_, id| buckets.contains_key(id));
        if self.templates.len() >= MAX_REST_BUCKETS {
            self.templates.clear();
        }
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
