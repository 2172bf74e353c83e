//! Turns to identify among all processes of a bot.
//!
//! The local gate decides who is first here; then the backplane is asked whether it is this bucket's turn at
//! all. It takes the turn and counts the session start in one step, so nobody holds anything that he could
//! take with him: a process that is killed costs the others one window.
//!
//! While the backplane is away nobody can say whose turn it is, so identifies wait, for [`PATIENCE`] at
//! most; resumes never come here. After that the clock says it: each position of a bucket has a slot of
//! its own, which comes round again and again. Processes need not know of each other for that, only run
//! different shards, keep the same reserve, and have clocks that agree within a second. The budget holds
//! all the same: Discord is asked every minute for what is left, and slots are so long that all processes
//! together let through fewer in that time than the reserve has.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::post::Post;
use super::shared::lock;
use crate::backplane::{SharedClaim, Trouble, Verdict};
use crate::identify::Claim;
use crate::identify::line::{Admission, Said};
use crate::sessions::wall_ms;

/// How long identifies wait for a backplane that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two attempts while it is away.
const RETRY: Duration = Duration::from_secs(1);

/// Each shard's slot when the clock decides, at least: a window, and a second in which clocks may disagree.
const SLOT_MIN_MS: i64 = 6_250;

/// The time in which less than the reserve goes out: that between two questions to Discord, and some more.
const RESERVE_LASTS_MS: i64 = 75_000;

/// The reserve that slots are made for where the config has less.
const RESERVE_MIN: u32 = 10;

/// The part of a slot in which its identify goes out.
const SLOT_USED_MS: i64 = 250;

/// Of processes that wait for the same turn, the one with the lowest shard asks first, and that with the
/// highest so much later.
const STAGGER: Duration = Duration::from_millis(200);

/// The least time in which an identify must go out after its claim was made.
const SLACK_MIN: Duration = Duration::from_millis(100);

/// The most, for a backplane that is slow.
const SLACK_MAX: Duration = Duration::from_secs(2);

/// Claims that are remembered to be withdrawn. One that is forgotten costs a session start of the day.
const MAX_UNUSED: usize = 16;

/// How this client takes its turns.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Claims made so far.
    claims: u64,
    /// Claims that were not used and may have been granted.
    unused: Vec<String>,
    /// How much later than a claim its identify goes out at most: twice what the last answer took.
    slack: Duration,
    /// Since when the backplane is away.
    away_since: Option<Instant>,
}

/// Something that the host should know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Identifies wait for the backplane.
    Waits(String),
    /// They no longer do.
    GoesOn,
}

impl Turns {
    /// No claim was made yet.
    pub(super) fn new() -> Self {
        let slack = SLACK_MIN;
        Self(Mutex::new(State { claims: 0, unused: Vec::new(), slack, away_since: None }))
    }

    /// Asks for a turn.
    pub(super) async fn ask(
        &self,
        post: &Post,
        claim: Claim,
        said: Option<Said>,
        total: Option<NonZeroU32>,
        reserve: u32,
    ) -> (Admission, Option<Notice>) {
        let began = Instant::now();
        let (id, withdrawn, slack) = {
            let mut state = lock(&self.0);
            state.claims += 1;
            let id = format!("{}-{}:{}", post.worker(), state.claims, claim.shard_id);
            (id, state.unused.clone(), state.slack)
        };
        let left = said.map(|said| (said.remaining.saturating_sub(reserve), said.at.elapsed()));
        let shared = SharedClaim { claim, id, withdrawn, slack, left };
        let verdict = post.claim(&shared).await;
        let took = began.elapsed();
        let Claim { shard_id, max_concurrency, .. } = shared.claim;

        let mut state = lock(&self.0);
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(trouble) => {
                if matches!(trouble, Trouble::Unclear(_)) && state.unused.len() < MAX_UNUSED {
                    state.unused.push(shared.id);
                }
                let is_new = state.away_since.is_none();
                let since = *state.away_since.get_or_insert(began);
                let notice = is_new.then(|| {
                    let most_s = PATIENCE.as_secs();
                    Notice::Waits(format!(
                        "{trouble}; whose turn it is to identify is unknown, so identifies wait, at \
                         most {most_s} s; resumes go on"
                    ))
                });
                if since.elapsed() < PATIENCE {
                    return (Admission::NotBefore(Instant::now() + RETRY), notice);
                }
                let wait_ms = wait_for_slot(shard_id, max_concurrency, total, reserve, wall_ms());
                if wait_ms == 0 {
                    return (Admission::Alone, notice);
                }
                // It may be back before that.
                let wait = Duration::from_millis(wait_ms.unsigned_abs()).min(RETRY);
                return (Admission::NotBefore(Instant::now() + wait), notice);
            }
        };
        state.unused.clear();
        let notice = state.away_since.take().map(|_| Notice::GoesOn);
        state.slack = (took * 2).clamp(SLACK_MIN, SLACK_MAX);
        let admission = match verdict {
            // It would go out within the window of the next one.
            Verdict::Granted { .. } if took > slack => {
                state.unused.push(shared.id);
                Admission::NotBefore(Instant::now())
            }
            Verdict::Granted { used_today, unanswered } => {
                Admission::Granted { used_today, unanswered }
            }
            Verdict::Wait(wait) => {
                let place = total.map_or(0.0, |total| f64::from(shard_id) / f64::from(total.get()));
                Admission::NotBefore(Instant::now() + wait + STAGGER.mul_f64(place.clamp(0.0, 1.0)))
            }
            Verdict::TooHasty { unanswered } => Admission::TooHasty { unanswered },
            Verdict::Spent => Admission::Spent,
        };
        (admission, notice)
    }
}

/// Milliseconds until a shard's slot, by a clock that all processes have: zero within it.
fn wait_for_slot(
    shard_id: u32,
    max_concurrency: NonZeroU32,
    total: Option<NonZeroU32>,
    reserve: u32,
    now_ms: i64,
) -> i64 {
    let slot_ms = slot_ms(max_concurrency, reserve);
    let total = total.map_or(shard_id + 1, |total| total.get().max(shard_id + 1));
    let places = i64::from(total.div_ceil(max_concurrency.get()));
    let round_ms = places * slot_ms;
    let begins_ms = i64::from(shard_id / max_concurrency) * slot_ms;
    let into_ms = (now_ms - begins_ms).rem_euclid(round_ms);
    if into_ms < SLOT_USED_MS { 0 } else { round_ms - into_ms }
}

/// How long a slot is. Each lets one shard of each bucket through.
fn slot_ms(max_concurrency: NonZeroU32, reserve: u32) -> i64 {
    let most = i64::from(reserve.max(RESERVE_MIN));
    SLOT_MIN_MS.max(i64::from(max_concurrency.get()) * RESERVE_LASTS_MS / most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the clock alone, no two shards of a bucket come closer than Discord allows, and all get in.
    #[test]
    fn slots_never_meet() {
        for (total, max_concurrency) in [(1, 1), (7, 2), (32, 2), (33, 16)] {
            let total = NonZeroU32::new(total).expect("not zero");
            let concurrency = NonZeroU32::new(max_concurrency).expect("not zero");
            let places = i64::from(total.get().div_ceil(max_concurrency));
            let slot_ms = slot_ms(concurrency, 50);
            // In a minute less than the reserve.
            assert!(60_000 / slot_ms * i64::from(max_concurrency) < 50);
            let mut last = vec![None; max_concurrency as usize];
            let mut came = std::collections::BTreeSet::new();
            for now_ms in (1_800_000_000_000..)
                .step_by(50)
                .take_while(|now_ms| *now_ms <= 1_800_000_000_000 + places * slot_ms)
            {
                for shard_id in 0..total.get() {
                    if wait_for_slot(shard_id, concurrency, Some(total), 50, now_ms) > 0 {
                        continue;
                    }
                    came.insert(shard_id);
                    let last = &mut last[(shard_id % max_concurrency) as usize];
                    if let Some((other, at)) = *last
                        && other != shard_id
                    {
                        assert!(now_ms - at >= 6_000, "{other} and {shard_id}");
                    }
                    *last = Some((shard_id, now_ms));
                }
            }
            assert_eq!(came.len(), total.get() as usize);
        }
    }
}
