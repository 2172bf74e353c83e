//! The limiter with a clock: requests wait here for their turn.
//!
//! The limiter stands behind a lock. Whoever changes it polls it, and tells those whose turn it is;
//! when only time has to pass, a task sleeps for all. That task lives as long as somebody waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::answer::Answer;
use super::limiter::{Event, Limiter, Ticket};
use super::metrics::RestMetrics;
use super::route::Route;
use crate::config::MAX_REST_WAITING;
use crate::error::{Error, ErrorKind};

/// Where the requests of a bot wait.
pub(super) struct Turns {
    line: Mutex<Line>,
    /// The moment that the timer sleeps to has changed.
    rescheduled: Notify,
    /// What is counted.
    pub(super) metrics: RestMetrics,
}

/// What the lock protects.
struct Line {
    limiter: Limiter,
    /// Who waits, by ticket. A turn that was given up leaves before its receiver is gone.
    waiters: HashMap<Ticket, oneshot::Sender<Result<(), Unauthorized>>>,
    /// When the limiter has to be asked again.
    wake_at: Option<Instant>,
    /// Whether the timer runs.
    timer_runs: bool,
}

/// The token does not work, so that nothing is sent with it.
#[derive(Debug)]
pub(super) struct Unauthorized;

/// A request's place in line. Dropped, it leaves; a turn that was not used goes to the next.
pub(super) struct Turn {
    turns: Arc<Turns>,
    route: Arc<Route>,
    ticket: Ticket,
    state: State,
}

/// How far a request has come.
enum State {
    /// It waits.
    InLine { told: oneshot::Receiver<Result<(), Unauthorized>>, since: Instant },
    /// It may be sent.
    Granted,
    /// It may have been sent.
    OnWire,
    /// The limiter knows nothing of it at the moment.
    Out,
}

impl Turns {
    /// A line with nobody in it.
    pub(super) fn new() -> Self {
        let line = Line {
            limiter: Limiter::new(),
            waiters: HashMap::new(),
            wake_at: None,
            timer_runs: false,
        };
        Self { line: Mutex::new(line), rescheduled: Notify::new(), metrics: RestMetrics::default() }
    }

    /// Gets a request in line.
    ///
    /// # Errors
    /// `QueueFull` when too many wait.
    pub(super) fn enter(self: &Arc<Self>, route: &Arc<Route>) -> Result<Turn, Error> {
        let mut line = self.lock();
        if line.limiter.waiting() >= MAX_REST_WAITING {
            let text = format!("{MAX_REST_WAITING} REST requests wait for rate limits already");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        let ticket = line.limiter.enter(route, now());
        let state = line.wait(ticket);
        let (turns, route) = (Arc::clone(self), Arc::clone(route));
        self.poll(&mut line);
        Ok(Turn { turns, route, ticket, state })
    }

    /// Tells everybody what there is to tell, and sees to it that time does not pass unnoticed.
    fn poll(self: &Arc<Self>, line: &mut Line) {
        let now = now();
        while let Some(event) = line.limiter.poll(now) {
            let (ticket, told) = match event {
                Event::Granted(ticket) => (ticket, Ok(())),
                Event::Unauthorized(ticket) => (ticket, Err(Unauthorized)),
                Event::TooManyInvalid { count, until } => {
                    warn!(
                        count,
                        seconds = until.saturating_duration_since(now).as_secs(),
                        "REST requests are held back: Discord answered too many with 401, 403 or \
                         429 in the last ten minutes, and would ban this address",
                    );
                    continue;
                }
            };
            if let Some(waiter) = line.waiters.remove(&ticket) {
                // A turn takes itself out of line before it drops the other end.
                let _ = waiter.send(told);
            }
        }
        self.metrics.set_load(line.limiter.waiting(), line.limiter.flying());
        let wake_at = line.limiter.poll_timeout().map(Instant::from_std);
        if line.wake_at == wake_at {
            return;
        }
        line.wake_at = wake_at;
        if line.timer_runs {
            self.rescheduled.notify_one();
        } else if wake_at.is_some() {
            line.timer_runs = true;
            tokio::spawn(Arc::clone(self).run_timer());
        }
    }

    /// Asks the limiter whenever it wants to be asked, until it does not.
    async fn run_timer(self: Arc<Self>) {
        loop {
            let wake_at = {
                let mut line = self.lock();
                if line.wake_at.is_some_and(|at| at <= Instant::now()) {
                    line.wake_at = None;
                    self.poll(&mut line);
                }
                let Some(wake_at) = line.wake_at else {
                    line.timer_runs = false;
                    return;
                };
                wake_at
            };
            tokio::select! {
                () = sleep_until(wake_at) => {}
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// The line. A panic elsewhere does not make it unusable.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// The state of somebody who waits from now on.
    fn wait(&mut self, ticket: Ticket) -> State {
        let (tell, told) = oneshot::channel();
        self.waiters.insert(ticket, tell);
        State::InLine { told, since: Instant::now() }
    }
}

impl Turn {
    /// Waits until it is this request's turn.
    ///
    /// # Errors
    /// [`Unauthorized`]; the request is out of line then.
    pub(super) async fn granted(&mut self) -> Result<(), Unauthorized> {
        let State::InLine { told, since } = &mut self.state else { return Ok(()) };
        let was_told = if let Ok(told) = told.try_recv() {
            told
        } else {
            // Nobody closes the other end but by telling.
            let told = told.await.unwrap_or(Err(Unauthorized));
            self.turns.metrics.count_wait(since.elapsed());
            told
        };
        self.state = if was_told.is_ok() { State::Granted } else { State::Out };
        was_told
    }

    /// Notes that from now on nobody knows whether Discord has seen the request.
    pub(super) fn sending(&mut self) {
        self.state = State::OnWire;
    }

    /// Brings back the answer.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.finish(|limiter, ticket| limiter.answered(ticket, answer, now()));
    }

    /// Brings back that there was none.
    pub(super) fn unanswered(&mut self) {
        self.finish(|limiter, ticket| limiter.unanswered(ticket, now()));
    }

    /// Brings back the request itself: it never left.
    pub(super) fn unsent(&mut self) {
        self.finish(|limiter, ticket| limiter.unsent(ticket, now()));
    }

    /// Gets in line again, in the old place.
    pub(super) fn again(&mut self) {
        let mut line = self.turns.lock();
        line.limiter.enter_again(self.ticket, &self.route, now());
        self.state = line.wait(self.ticket);
        self.turns.poll(&mut line);
    }

    /// Until when Discord's 429s keep this request back.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.turns.lock().limiter.held_until(&self.route).map(Instant::from_std)
    }

    /// Tells the limiter how it ended.
    fn finish(&mut self, tell: impl FnOnce(&mut Limiter, Ticket)) {
        self.state = State::Out;
        let mut line = self.turns.lock();
        line.waiters.remove(&self.ticket);
        tell(&mut line.limiter, self.ticket);
        self.turns.poll(&mut line);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Out) {
            State::Out => {}
            State::OnWire => self.unanswered(),
            State::Granted => self.unsent(),
            // Its turn may have come in this very moment: then it goes to the next.
            State::InLine { .. } => self.finish(|limiter, ticket| {
                limiter.leave(ticket, now());
                limiter.unsent(ticket, now());
            }),
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// Now, as the limiter counts.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
