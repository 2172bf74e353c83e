//! The limiter against a model of Discord, in virtual time: thousands of requests per seed, over a
//! network that delays, reorders and loses.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use http::Method;

use super::answer::{Answer, Limits, RateLimitScope, RateLimited};
use super::lane::{LaneId, MAX_PER_SECOND};
use super::limiter::{Event, Limiter, Ticket};
use super::route::Route;
use crate::config::MAX_REST_REQUESTS;

/// A route of the model: method, path with `*` for the top-level id, and its limit.
type Spec = (&'static str, &'static str, Option<Limit>);

/// A limit of the model: name, requests, milliseconds.
type Limit = (&'static str, u32, u64);

/// What the limits of Discord look like: shared by routes or not, fast and slow, or none.
const SPECS: [Spec; 12] = [
    ("POST", "/channels/*/messages", Some(("send", 5, 5_000))),
    ("DELETE", "/channels/*/messages/9", Some(("delete", 5, 1_000))),
    ("PUT", "/channels/*/messages/9/reactions/x/@me", Some(("react", 1, 250))),
    ("DELETE", "/channels/*/messages/9/reactions/x/@me", Some(("react", 1, 250))),
    ("GET", "/channels/*", Some(("channel", 4, 3_000))),
    ("PATCH", "/channels/*", Some(("channel", 4, 3_000))),
    ("GET", "/guilds/*/members", Some(("members", 10, 10_000))),
    ("GET", "/users/@me", Some(("me", 30, 30_000))),
    ("GET", "/gateway", None),
    ("POST", "/webhooks/*/token", Some(("webhook", 5, 2_000))),
    ("POST", "/webhooks/1/aW50ZXJhY3Rpb246*", Some(("follow-up", 5, 2_000))),
    ("POST", "/interactions/*/token/callback", None),
];

/// How a simulated day goes.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Time a request or an answer takes at most.
    latency_ms: u64,
    /// Of a hundred requests, how many never leave, are lost, fail with 502, or are given up.
    trouble: u8,
    /// Whether the server lies: hidden limits, wrong numbers, changing names, global refusals.
    lies: bool,
}

/// What will happen.
enum Happening {
    /// A request is made.
    Enter(Arc<Route>, Spec),
    /// It arrives, whether anybody still waits for it or not.
    Arrive(Arrival),
    /// Its answer arrives.
    Answer(Ticket, Answer),
    /// It turns out that it never left.
    Unsent(Ticket),
    /// Nobody waits for it any more.
    GiveUp(Ticket),
}

/// A request from when it is made until it is over.
struct Flight {
    route: Arc<Route>,
    spec: Spec,
    /// It waits (or is on its way).
    in_line: bool,
    /// It was sent before, and is no longer in the order of those that were not.
    again: bool,
}

/// A request as the server sees it.
struct Arrival {
    ticket: Ticket,
    route: Arc<Route>,
    spec: Spec,
    /// Its route's limit was unknown when it was sent.
    stranger: bool,
    /// How long the windows of its resource's limit are was not known, either.
    blind: bool,
    /// Its answer will be lost.
    is_lost: bool,
}

/// A window of the server.
#[derive(Default)]
struct Window {
    ends_at: Option<Instant>,
    count: u32,
    /// A request came whose sender could not know the limit.
    stranger: bool,
}

/// The limiter, the server, and what is between them.
struct Simulation {
    seed: u64,
    rng: Rng,
    weather: Weather,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Happening>,
    serial: u64,
    limiter: Limiter,
    flights: HashMap<Ticket, Flight>,
    on_wire: usize,
    /// Requests on the wire, by route.
    on_route: HashMap<Arc<Route>, usize>,
    /// The last ticket that went out, by route.
    order: HashMap<Arc<Route>, Ticket>,
    /// Routes that were answered, and methods and templates that were.
    known_routes: HashSet<Arc<Route>>,
    known_templates: HashSet<(Method, Box<str>)>,
    /// The longest time that an answer named for a window, by name and resource of the limit.
    known_windows: HashMap<(&'static str, Box<str>), Duration>,
    windows: HashMap<(&'static str, Box<str>), Window>,
    /// When requests were counted, by lane.
    seconds: [VecDeque<Instant>; 2],
    done: usize,
    done_by_path: HashMap<&'static str, usize>,
    given_up: usize,
    refused: usize,
    most_on_wire: usize,
    polls: usize,
}

impl Simulation {
    fn new(seed: u64, weather: Weather) -> Self {
        Self {
            seed,
            rng: Rng::with_seed(seed),
            weather,
            now: Instant::now(),
            agenda: BTreeMap::new(),
            serial: 0,
            limiter: Limiter::new(),
            flights: HashMap::new(),
            on_wire: 0,
            on_route: HashMap::new(),
            order: HashMap::new(),
            known_routes: HashSet::new(),
            known_templates: HashSet::new(),
            known_windows: HashMap::new(),
            windows: HashMap::new(),
            seconds: Default::default(),
            done: 0,
            done_by_path: HashMap::new(),
            given_up: 0,
            refused: 0,
            most_on_wire: 0,
            polls: 0,
        }
    }

    /// Plans something.
    fn plan(&mut self, at: Instant, what: Happening) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), what);
    }

    /// Plans a request to the resource with this id.
    fn plan_request(&mut self, after: Duration, spec: Spec, id: u64) {
        let (method, path, _) = spec;
        let method = method.parse().expect("a method");
        let route = Arc::new(Route::new(method, &path.replace('*', &id.to_string())));
        self.plan(self.now + after, Happening::Enter(route, spec));
    }

    /// A random time on the way.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(1_000..=self.weather.latency_ms * 1_000))
    }

    /// Lets everything happen. How long it took.
    fn run(&mut self) -> Duration {
        let start = self.now;
        while self.step() {}
        assert_eq!(self.limiter.waiting(), 0, "seed {}: somebody waits for ever", self.seed);
        assert_eq!(self.limiter.flying(), 0, "seed {}", self.seed);
        assert!(self.flights.is_empty(), "seed {}: {} left over", self.seed, self.flights.len());
        self.now - start
    }

    /// Goes to the next moment at which something happens, if there is one.
    fn step(&mut self) -> bool {
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.limiter.poll_timeout();
        assert!(timeout.is_none_or(|at| at > self.now), "seed {}: it spins", self.seed);
        let Some(at) = next.into_iter().chain(timeout).min() else { return false };
        self.now = self.now.max(at);
        while let Some(entry) = self.agenda.first_entry().filter(|e| e.key().0 <= self.now) {
            let what = entry.remove();
            self.happen(what);
        }
        self.poll();
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Enter(route, spec) => {
                let ticket = self.limiter.enter(&route, self.now);
                let flight = Flight { route, spec, in_line: true, again: false };
                self.flights.insert(ticket, flight);
                if self.rng.u8(..100) < self.weather.trouble / 4 {
                    let patience = Duration::from_millis(self.rng.u64(..20_000));
                    self.plan(self.now + patience, Happening::GiveUp(ticket));
                }
            }
            Happening::Arrive(arrival) => self.serve(&arrival),
            Happening::Answer(ticket, answer) => {
                if self.flights.get(&ticket).is_none_or(|flight| flight.in_line) {
                    return; // Given up meanwhile.
                }
                self.limiter.answered(ticket, &answer, self.now);
                let flight = self.land(ticket);
                let route = &flight.route;
                if answer.limits.is_some() || answer.status == 200 {
                    self.known_routes.insert(Arc::clone(route));
                    self.known_templates.insert((route.method.clone(), route.template.clone()));
                }
                if let (Some(limits), Some((name, ..))) = (&answer.limits, flight.spec.2) {
                    let key = (name, route.resource.clone());
                    let longest = self.known_windows.entry(key).or_default();
                    *longest = limits.reset_after.max(*longest);
                }
                if answer.status == 200 {
                    self.done += 1;
                    *self.done_by_path.entry(flight.spec.1).or_default() += 1;
                } else {
                    self.again(ticket, flight);
                }
            }
            Happening::Unsent(ticket) => {
                if self.flights.get(&ticket).is_some_and(|flight| !flight.in_line) {
                    self.limiter.unsent(ticket, self.now);
                    let flight = self.land(ticket);
                    self.again(ticket, flight);
                }
            }
            Happening::GiveUp(ticket) => match self.flights.get(&ticket) {
                Some(flight) if flight.in_line => {
                    self.limiter.leave(ticket, self.now);
                    self.flights.remove(&ticket);
                    self.given_up += 1;
                }
                Some(_) => {
                    self.limiter.unanswered(ticket, self.now);
                    self.land(ticket);
                    self.given_up += 1;
                }
                None => {}
            },
        }
    }

    /// Takes a request off the wire.
    fn land(&mut self, ticket: Ticket) -> Flight {
        let flight = self.flights.remove(&ticket).expect("it was on the wire");
        self.on_wire -= 1;
        *self.on_route.get_mut(&flight.route).expect("counted") -= 1;
        flight
    }

    /// Puts a request back in line.
    fn again(&mut self, ticket: Ticket, mut flight: Flight) {
        self.limiter.enter_again(ticket, &flight.route, self.now);
        (flight.in_line, flight.again) = (true, true);
        self.flights.insert(ticket, flight);
    }

    /// Sends what may go.
    fn poll(&mut self) {
        while let Some(event) = self.limiter.poll(self.now) {
            self.polls += 1;
            let Event::Granted(ticket) = event else { panic!("seed {}: {event:?}", self.seed) };
            let flight = self.flights.get_mut(&ticket).expect("whoever is told still waits");
            assert!(flight.in_line, "seed {}: told twice", self.seed);
            flight.in_line = false;
            let route = Arc::clone(&flight.route);
            let template = (route.method.clone(), route.template.clone());
            let stranger = !self.known_templates.contains(&template);
            let spec = flight.spec;
            let blind = spec.2.is_none_or(|(name, _, ms)| {
                let known = self.known_windows.get(&(name, route.resource.clone()));
                known.is_none_or(|longest| *longest < Duration::from_millis(ms - 1))
            });
            if !flight.again {
                let last = self.order.insert(Arc::clone(&route), ticket);
                assert!(last < Some(ticket), "seed {}: {route} out of order", self.seed);
            }
            let on_route = self.on_route.entry(Arc::clone(&route)).or_default();
            *on_route += 1;
            assert!(
                *on_route == 1 || self.known_routes.contains(&route) || !stranger,
                "seed {}: {on_route} requests to the unknown {route}",
                self.seed
            );
            self.on_wire += 1;
            self.most_on_wire = self.most_on_wire.max(self.on_wire);
            assert!(self.on_wire <= MAX_REST_REQUESTS, "seed {}", self.seed);
            self.send(Arrival { ticket, route, spec, stranger, blind, is_lost: false });
        }
        self.polls += 1;
    }

    /// Sends a request on its way, or does not.
    fn send(&mut self, mut request: Arrival) {
        let ticket = request.ticket;
        let arrives_at = self.now + self.latency();
        let fate = self.rng.u8(..100);
        if fate < self.weather.trouble / 4 {
            self.plan(arrives_at, Happening::Unsent(ticket));
            return;
        }
        request.is_lost = fate < self.weather.trouble / 2;
        if request.is_lost {
            self.plan(self.now + Duration::from_secs(15), Happening::GiveUp(ticket));
        }
        self.plan(arrives_at, Happening::Arrive(request));
    }

    /// What Discord does with a request.
    fn serve(&mut self, request: &Arrival) {
        let (ticket, is_lost) = (request.ticket, request.is_lost);
        let back = self.latency();
        let answer = match self.count_globally(&request.route) {
            Some(refusal) => refusal,
            None => self.count(request),
        };
        if !is_lost {
            self.plan(self.now + back, Happening::Answer(ticket, answer));
        }
    }

    /// The 50 per second of the bot, and of the address.
    fn count_globally(&mut self, route: &Route) -> Option<Answer> {
        if route.lane == LaneId::Interaction {
            return None;
        }
        let second = &mut self.seconds[route.lane as usize];
        while second.front().is_some_and(|at| *at + Duration::from_secs(1) <= self.now) {
            second.pop_front();
        }
        let is_full = second.len() >= MAX_PER_SECOND;
        let is_moody = self.weather.lies && self.rng.u8(..100) == 0;
        if is_full || is_moody {
            assert!(self.weather.lies, "seed {}: over 50 per second with {route}", self.seed);
            return Some(self.refuse(RateLimitScope::Global, Duration::from_millis(700), None));
        }
        second.push_back(self.now);
        None
    }

    /// The limit of a route.
    fn count(&mut self, request: &Arrival) -> Answer {
        let route = &request.route;
        // Something behind the limits breaks, or in front of them.
        let breaks = self.rng.u8(..100) < self.weather.trouble / 4;
        let broken = Answer { status: 502, limits: None, rate_limited: None };
        if breaks && self.rng.bool() {
            return broken;
        }
        if self.weather.lies && self.rng.u8(..20) == 0 {
            let wait = Duration::from_millis(self.rng.u64(..3_000));
            let scope = RateLimitScope::ALL[self.rng.usize(..4)];
            let limits = self.rng.bool().then(|| self.lie());
            return self.refuse(scope, wait, limits);
        }
        let Some((name, limit, ms)) = request.spec.2 else {
            return Answer { status: 200, limits: None, rate_limited: None };
        };
        let window = self.windows.entry((name, route.resource.clone())).or_default();
        if window.ends_at.is_none_or(|at| at <= self.now) {
            let ends_at = Some(self.now + Duration::from_millis(ms));
            *window = Window { ends_at, count: 0, stranger: false };
        }
        window.stranger |= request.stranger;
        let is_over = window.count >= limit;
        let excused = window.stranger || request.blind || self.weather.lies;
        assert!(!is_over || excused, "seed {}: a 429 for {route}", self.seed);
        window.count += u32::from(!is_over);
        let reset_after = window.ends_at.expect("set above") - self.now;
        // In milliseconds, rounded, as Discord has it.
        let reset_after = Duration::from_millis((reset_after.as_micros() as u64 + 500) / 1_000);
        let remaining = limit - window.count;
        let mut limits = Limits { bucket: Some(name.into()), limit, remaining, reset_after };
        if is_over {
            return self.refuse(RateLimitScope::User, reset_after, Some(limits));
        }
        if breaks {
            return broken;
        }
        if self.weather.lies && self.rng.u8(..5) == 0 {
            limits = self.lie();
        }
        Answer { status: 200, limits: Some(limits), rate_limited: None }
    }

    /// A 429.
    fn refuse(
        &mut self,
        scope: RateLimitScope,
        retry_after: Duration,
        limits: Option<Limits>,
    ) -> Answer {
        self.refused += 1;
        Answer { status: 429, limits, rate_limited: Some(RateLimited { scope, retry_after }) }
    }

    /// Headers that make no sense.
    fn lie(&mut self) -> Limits {
        Limits {
            bucket: [None, Some("react".into()), Some("x".into()), Some("y".into())]
                [self.rng.usize(..4)]
            .clone(),
            limit: self.rng.u32(1..7),
            remaining: self.rng.u32(..9),
            reset_after: Duration::from_millis(self.rng.u64(..4_000)),
        }
    }
}

/// Promise 4: where Discord's headers are true there is no 429, whatever the network does; nobody
/// overtakes, nobody waits for ever.
#[test]
fn honest_limits_are_never_exceeded() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let latency_ms = [2, 40, 400][seed as usize % 3];
        let trouble = [0, 0, 8, 20][seed as usize % 4];
        let mut simulation = Simulation::new(seed, Weather { latency_ms, trouble, lies: false });
        let requests = 2_000;
        for _ in 0..requests {
            // Bursts, and quiet times.
            let after = Duration::from_millis(rng.u64(..60) * 1_000 + rng.u64(..300));
            let spec = SPECS[rng.usize(..SPECS.len())];
            simulation.plan_request(after, spec, rng.u64(1..5));
        }
        simulation.run();
        assert_eq!(simulation.done + simulation.given_up, requests, "seed {seed}");
        // A route that nothing is known of can share its limit with others: that is found out once.
        assert!(simulation.refused <= SPECS.len() * 2, "seed {seed}: {}", simulation.refused);
    }
}

/// The same server, asked for nothing but trouble: everything comes to an end, and nothing spins.
#[test]
fn lies_are_survived() {
    for seed in 1_000..1_040 {
        let mut rng = Rng::with_seed(seed);
        let mut simulation =
            Simulation::new(seed, Weather { latency_ms: 90, trouble: 20, lies: true });
        let requests = 600;
        for _ in 0..requests {
            let spec = SPECS[rng.usize(..SPECS.len())];
            simulation.plan_request(Duration::from_millis(rng.u64(..30_000)), spec, rng.u64(1..5));
        }
        simulation.run();
        assert_eq!(simulation.done + simulation.given_up, requests, "seed {seed}");
        assert!(simulation.refused > 20, "seed {seed}: the weather is too good");
        assert!(simulation.polls < requests * 40, "seed {seed}: {} polls", simulation.polls);
    }
}

/// How long `count` requests take that come all at once.
fn time_for(spec: Spec, ids: u64, count: u64, latency_ms: u64) -> Duration {
    let mut simulation = Simulation::new(7, Weather { latency_ms, trouble: 0, lies: false });
    for index in 0..count {
        simulation.plan_request(Duration::ZERO, spec, index % ids);
    }
    let time = simulation.run();
    assert_eq!((simulation.done, simulation.refused), (count as usize, 0));
    time
}

/// What a limit allows is used: a window is never left half empty, and the next begins no later than
/// the network takes to tell.
#[test]
fn the_limits_are_used_up() {
    for spec in SPECS {
        let Some((name, limit, window_ms)) = spec.2 else { continue };
        let latency_ms = 50;
        let windows = 8;
        // The first request goes alone, to learn the limit.
        let ideal_ms = window_ms * (windows - 1);
        let network_ms = (4 * latency_ms + 60) * windows;
        let took = time_for(spec, 1, u64::from(limit) * windows, latency_ms);
        assert!(took >= Duration::from_millis(ideal_ms), "{name}: {took:?}");
        assert!(took <= Duration::from_millis(ideal_ms + network_ms), "{name}: {took:?}");
    }
}

/// Many routes at once come close to 50 per second, and slow answers cost only so much.
#[test]
fn fifty_per_second_are_used_up() {
    let post = SPECS[0];
    for (latency_ms, at_most_s) in [(2, 20.5), (50, 22.0), (400, 30.0)] {
        let took = time_for(post, 1_000, 1_000, latency_ms).as_secs_f64();
        assert!((19.0..at_most_s).contains(&took), "{latency_ms} ms: {took} s");
    }
    // Nothing but places on the wire holds interactions back.
    let callback = SPECS[11];
    let took = time_for(callback, 1_000, 1_000, 50);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// The oldest goes first where the global limit is short, whatever its route.
#[test]
fn no_route_starves() {
    let weather = Weather { latency_ms: 20, trouble: 0, lies: false };
    let mut simulation = Simulation::new(3, weather);
    for index in 0..2_000 {
        simulation.plan_request(Duration::from_millis(index), SPECS[8], 0);
    }
    simulation.plan_request(Duration::from_millis(500), SPECS[4], 1);
    while !simulation.done_by_path.contains_key(SPECS[4].1) {
        assert!(simulation.step(), "it was never answered");
    }
    let before = simulation.done;
    assert!((490..560).contains(&before), "{before} were done before the one that came 501st");
}
