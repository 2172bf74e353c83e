//! Leases in Redis: a hash of shards and one of workers. The clock is the server's.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::Redis;
use crate::backplane::leases::{Answer, Ask, Held, Leases, Standing, TakenBy, Wants};
use crate::backplane::{Doing, Trouble};

static LEASES: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("leases.lua")));

impl Redis {
    /// Does something with the leases of so many shards.
    async fn leases(&self, shard_total: u32, arguments: &[String]) -> Result<Vec<String>, Trouble> {
        let leases = format!("leases:{shard_total}");
        let keys = [&leases, "leases:workers", "leases:since", "leases:token"];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run_script(&LEASES, &keys, &arguments).await
    }
}

impl Leases for Redis {
    fn lease_hold<'a>(&'a self, ask: &'a Ask) -> Doing<'a, Answer> {
        Box::pin(async move {
            let answer = self.leases(ask.shard_total, &arguments(ask)).await?;
            read(&answer).ok_or_else(|| Trouble::Unclear("its answer makes no sense".to_owned()))
        })
    }

    fn lease_release<'a>(
        &'a self,
        worker: &'a str,
        shard_total: u32,
        held: &'a [Held],
        leaves: bool,
    ) -> Doing<'a, ()> {
        Box::pin(async move {
            let leaves = u8::from(leaves).to_string();
            let mut arguments = vec!["release".to_owned(), worker.to_owned(), leaves];
            arguments.extend(words(held));
            self.leases(shard_total, &arguments).await.map(drop)
        })
    }
}

/// Shard and token of each.
fn words(held: &[Held]) -> impl Iterator<Item = String> {
    held.iter().flat_map(|held| [held.shard_id.to_string(), held.token.to_string()])
}

/// What the script is told.
fn arguments(ask: &Ask) -> Vec<String> {
    let Ask { worker, whereabouts, shard_total, ttl, held, wants } = ask;
    let mode = match wants {
        Wants::Share { takes: true } => "share",
        Wants::Share { takes: false } => "join",
        Wants::These { .. } => "these",
    };
    let [op, mode] = ["hold", mode].map(str::to_owned);
    let ttl = ttl.as_millis().to_string();
    let (worker, whereabouts) = (worker.clone(), whereabouts.clone());
    let mut arguments = vec![op, worker, whereabouts, shard_total.to_string(), ttl, mode];
    arguments.push(held.len().to_string());
    arguments.extend(words(held));
    if let Wants::These { shards, gone } = wants {
        arguments.push(shards.len().to_string());
        arguments.extend(shards.iter().map(ToString::to_string));
        arguments.extend(gone.iter().cloned());
    }
    arguments
}

/// What the script answers.
fn read(answer: &[String]) -> Option<Answer> {
    let [share, workers, next_end, count, rest @ ..] = answer else {
        let [_, total] = answer else { return None };
        return Some(Answer::OtherTotal(total.parse().ok()?));
    };
    let (held, taken) = rest.split_at_checked(count.parse::<usize>().ok()?.checked_mul(2)?)?;
    let held = held
        .chunks_exact(2)
        .map(|it| Some(Held { shard_id: it[0].parse().ok()?, token: it[1].parse().ok()? }));
    let mut held = held.collect::<Option<Vec<Held>>>()?;
    held.sort_unstable();
    let taken = taken.chunks_exact(3).map(|it| {
        let (worker, whereabouts) = (it[1].clone(), it[2].clone());
        Some(TakenBy { shard_id: it[0].parse().ok()?, worker, whereabouts })
    });
    let (share, workers) = (share.parse().ok()?, workers.parse().ok()?);
    let next_end = Duration::from_millis(next_end.parse().ok()?);
    let taken = taken.collect::<Option<Vec<TakenBy>>>()?;
    Some(Answer::Standing(Standing { held, share, workers, next_end, taken }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let read = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            read(&words)
        };
        assert_eq!(read("total 32"), Some(Answer::OtherTotal(32)));
        let held = vec![Held { shard_id: 2, token: 7 }, Held { shard_id: 10, token: 8 }];
        let taken = TakenBy { shard_id: 3, worker: "b".into(), whereabouts: "{}".into() };
        let next_end = Duration::from_millis(900);
        let standing = Standing { held, share: 3, workers: 2, next_end, taken: vec![taken] };
        assert_eq!(read("3 2 900 2 10 8 2 7 3 b {}"), Some(Answer::Standing(standing)));
        for text in
            ["", "x", "3 2 0 2 10 8", "3 2 0 9999999999999999999 1", "a 2 0 0", "3 2 0 1 x 1"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
