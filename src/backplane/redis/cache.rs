//! The cache in Redis: a hash for each value, which ends by itself.

use std::sync::LazyLock;

use redis::Script;

use super::Redis;
use crate::backplane::cache::{Cache, Cached, Changed, Increment, Set};
use crate::backplane::{Doing, Trouble};

static CACHE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cache.lua")));

impl Redis {
    /// Does something with one value.
    async fn cache(&self, key: &str, arguments: &[&str]) -> Result<Vec<String>, Trouble> {
        self.run_script(&CACHE, &[&format!("cache:{key}")], arguments).await
    }
}

impl Cache for Redis {
    fn cache_get<'a>(&'a self, key: &'a str) -> Doing<'a, Option<Cached>> {
        Box::pin(async move {
            let answer = self.cache(key, &["get"]).await?;
            let [value, version, ttl_ms] = &answer[..] else { return Ok(None) };
            Ok(Some(Cached {
                value: value.clone(),
                version: number(version),
                ttl_ms: Some(number(ttl_ms)).filter(|ttl| *ttl >= 0),
            }))
        })
    }

    fn cache_set<'a>(&'a self, set: &'a Set) -> Doing<'a, Changed> {
        Box::pin(async move {
            let ttl_ms = set.ttl_ms.unwrap_or(0).to_string();
            let expected = set.expected_version.unwrap_or(-1).to_string();
            let arguments = ["set", set.value.get(), &ttl_ms, &expected];
            Ok(changed(&self.cache(&set.key, &arguments).await?))
        })
    }

    fn cache_delete<'a>(&'a self, key: &'a str) -> Doing<'a, bool> {
        Box::pin(async move {
            let mut delete = redis::cmd("DEL");
            delete.arg(self.key(&format!("cache:{key}")));
            Ok(self.ask::<i64>(delete).await? > 0)
        })
    }

    fn cache_increment<'a>(&'a self, increment: &'a Increment) -> Doing<'a, Changed> {
        Box::pin(async move {
            let (by, ttl_ms) =
                (increment.by.to_string(), increment.ttl_ms.unwrap_or(0).to_string());
            Ok(changed(&self.cache(&increment.key, &["increment", &by, &ttl_ms]).await?))
        })
    }
}

/// What the script says.
fn changed(answer: &[String]) -> Changed {
    let at = |index: usize| answer.get(index).map_or(0, |text| number(text));
    match answer.first().map(String::as_str) {
        Some("done") => Changed::Done { version: at(1), value: at(2) },
        Some("conflict") => Changed::Conflict(at(1)),
        _ => Changed::NoNumber,
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}
