//! Whose turn it is to identify, in Redis. The clock is the server's.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::Redis;
use crate::backplane::{SharedClaim, Trouble, Verdict};
use crate::identify::Claim;

static IDENTIFY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("identify.lua")));

const KEYS: &[&str] = &["identifies", "identifies:unanswered", "identifies:since"];

impl Redis {
    /// Judges a claim, and notes it if it is granted.
    pub(super) async fn write_identify(&self, shared: &SharedClaim) -> Result<Verdict, Trouble> {
        let SharedClaim { claim, id, withdrawn, slack, left } = shared;
        let Claim { shard_id, max_concurrency, window, unanswered, day_began_ago, most_today } =
            claim;
        let millis = |duration: &Duration| duration.as_millis().to_string();
        let (left, asked_ago) =
            left.map_or_else(Default::default, |(left, ago)| (left.to_string(), millis(&ago)));
        let arguments = [
            shard_id.to_string(),
            max_concurrency.to_string(),
            millis(window),
            unanswered.to_string(),
            millis(day_began_ago),
            most_today.to_string(),
            id.clone(),
            millis(slack),
            asked_ago,
            left,
        ];
        let arguments: Vec<&str> = arguments.iter().chain(withdrawn).map(String::as_str).collect();
        let (verdict, first, second): (u8, u32, u32) =
            self.run_script(&IDENTIFY, KEYS, &arguments).await?;
        Ok(match verdict {
            0 => Verdict::Granted { used_today: first, unanswered: second },
            1 => Verdict::Wait(Duration::from_millis(first.into())),
            2 => Verdict::TooHasty { unanswered: first },
            _ => Verdict::Spent,
        })
    }

    /// An identify led to READY.
    pub(super) async fn write_answered(&self) -> Result<(), Trouble> {
        let mut forget = redis::cmd("DEL");
        forget.arg(self.key(KEYS[1]));
        self.ask(forget).await
    }
}
