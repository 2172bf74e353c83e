//! When a job that repeats is due: every so often, or by a cron expression in UTC.
//!
//! It knows no clock: the backplane says what time it is, so that all processes agree.

use std::cmp::Ordering;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{MAX_CRON_BYTES, MAX_JOB_DELAY, MIN_JOB_REPEAT};
use crate::error::{Error, ErrorKind};

const DAY_S: i64 = 24 * 60 * 60;

/// `repeat` of `job_push`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    /// Tells it from the others of its queue.
    pub(crate) name: String,
    every_ms: Option<u64>,
    cron: Option<String>,
}

/// When it is due.
#[derive(Debug, Clone)]
pub(crate) enum Rhythm {
    /// Every so many ms.
    Every(i64),
    /// By a cron expression.
    Cron(Box<Cron>, String),
}

impl Repeat {
    /// When it is due.
    ///
    /// # Errors
    /// `InvalidArgument` when it makes no sense, or never is.
    pub(crate) fn rhythm(&self) -> Result<Rhythm, Error> {
        let rhythm = match (self.every_ms, &self.cron) {
            (Some(every_ms), None) => {
                let every = Duration::from_millis(every_ms);
                if !(MIN_JOB_REPEAT..=MAX_JOB_DELAY).contains(&every) {
                    let (least, most) = (MIN_JOB_REPEAT.as_millis(), MAX_JOB_DELAY.as_millis());
                    return Err(wrong(format!("`every_ms` of `repeat` is {least} to {most}")));
                }
                Rhythm::Every(i64::try_from(every_ms).unwrap_or(i64::MAX))
            }
            (None, Some(cron)) => Rhythm::cron(cron).map_err(wrong)?,
            _ => return Err(wrong("`repeat` has either `every_ms` or `cron`")),
        };
        Ok(rhythm)
    }
}

impl Rhythm {
    fn cron(text: &str) -> Result<Self, String> {
        if text.len() > MAX_CRON_BYTES {
            return Err(format!("`cron` has at most {MAX_CRON_BYTES} bytes"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.build().parse(text).map_err(|error| {
            format!("`cron` is {text:?}, which is no cron expression of five fields: {error}")
        })?;
        let rhythm = Self::Cron(Box::new(cron), text.to_owned());
        if rhythm.next_ms(0, 0).is_none() {
            return Err(format!("`cron` is {text:?}, and that time never comes"));
        }
        Ok(rhythm)
    }

    /// As it is stored.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Every(every_ms) => format!("every {every_ms}"),
            Self::Cron(_, text) => format!("cron {text}"),
        }
    }

    /// What was stored, unless a later version did.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("every", every_ms) => {
                every_ms.parse().ok().filter(|every_ms| *every_ms > 0).map(Self::Every)
            }
            ("cron", text) => Self::cron(text).ok(),
            _ => None,
        }
    }

    /// As hosts see it.
    pub(crate) fn show(&self, shown: &mut Value) {
        match self {
            Self::Every(every_ms) => shown["every_ms"] = json!(every_ms),
            Self::Cron(_, text) => shown["cron"] = json!(text),
        }
    }

    /// When it is due after now, if it was due at `from_ms`. Times that were missed are not made up for.
    pub(crate) fn next_ms(&self, from_ms: i64, now_ms: i64) -> Option<i64> {
        match self {
            Self::Every(every_ms) => {
                let missed = (now_ms - from_ms).max(0) / every_ms;
                Some(from_ms + (missed + 1) * every_ms)
            }
            Self::Cron(cron, _) => {
                let now = Utc(now_ms.max(from_ms).div_euclid(1_000));
                cron.find_next_occurrence(&now, false).ok().map(|Utc(at_s)| at_s * 1_000)
            }
        }
    }
}

/// Seconds since 1970, which is all that UTC takes: no zones, no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Utc(i64);

impl Utc {
    /// Year, month and day of a day since 1970, in the Gregorian calendar. Years are counted from March, so
    /// that a leap day is the last of its year.
    fn date(days: i64) -> (i64, i64, i64) {
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
        (if month <= 2 { year + 1 } else { year }, month, day)
    }

    /// The other way round.
    fn days(year: i64, month: i64, day: i64) -> i64 {
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

impl CronDateTime for Utc {
    fn to_civil(&self) -> CivilDateTime {
        let (days, second) = (self.0.div_euclid(DAY_S), self.0.rem_euclid(DAY_S));
        let (year, month, day) = Self::date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let year = i32::try_from(year).unwrap_or(i32::MAX);
        // What is part of a date or of a time of day is never negative.
        let part = |number: i64| u32::try_from(number).unwrap_or(0);
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(year, part(month), part(day)),
            CivilTime::from_parts_unchecked(part(hour), part(minute), part(second)),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        // 1970 began on a Thursday.
        let day = (self.0.div_euclid(DAY_S) + 4).rem_euclid(7);
        Weekday::from_days_from_sunday(u32::try_from(day).unwrap_or(0))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let (year, month, day) = (civil.year(), civil.month(), civil.day());
        let days = Self::days(i64::from(year), i64::from(month), i64::from(day));
        let minutes = i64::from(civil.hour()) * 60 + i64::from(civil.minute());
        Ok(Resolution::Single(Self(days * DAY_S + minutes * 60 + i64::from(civil.second()))))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(seconds).map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// `InvalidArgument` with this text.
fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const YEAR_2026: i64 = 1_767_225_600;

    fn cron(text: &str) -> Rhythm {
        Rhythm::cron(text).expect(text)
    }

    /// The first times after that moment, in seconds since then.
    fn times(text: &str, count: usize) -> Vec<i64> {
        let rhythm = cron(text);
        let mut at_ms = YEAR_2026 * 1_000;
        let next = || {
            at_ms = rhythm.next_ms(at_ms, at_ms).expect("there is one");
            at_ms / 1_000 - YEAR_2026
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn days_have_dates_and_dates_days() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2026, 1, 1), 20_454),
            ((2100, 2, 28), 47_540),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!((Utc::date(days), Utc::days(date.0, date.1, date.2)), (date, days));
        }
        for days in -800_000..800_000 {
            let (year, month, day) = Utc::date(days);
            assert_eq!(Utc::days(year, month, day), days);
        }
    }

    #[test]
    fn cron_is_what_it_is_elsewhere_in_utc() {
        let (hour, day) = (3_600, DAY_S);
        assert_eq!(times("*/15 * * * *", 3), [900, 1_800, 2_700]);
        assert_eq!(times("30 9 * * *", 2), [9 * hour + 1_800, day + 9 * hour + 1_800]);
        // Monday the 5th, and a Sunday is 0 or 7.
        assert_eq!(times("0 0 * * MON", 1), [4 * day]);
        assert_eq!((times("0 0 * * 0", 1), times("0 0 * * 7", 1)), (vec![3 * day], vec![3 * day]));
        // Either of the two days, where both are given.
        assert_eq!(times("0 0 3 * 0", 2), [2 * day, 3 * day]);
        // Two years later, on the 60th day of the year.
        assert_eq!(times("0 0 29 2 *", 1), [(365 + 365 + 59) * day]);
        assert_eq!(times("@hourly", 2), [hour, 2 * hour]);
        assert_eq!(times("0 0 L * *", 1), [30 * day]);
    }

    #[test]
    fn what_never_comes_or_is_no_cron_is_refused() {
        for (text, part) in [
            ("0 0 30 2 *", "never comes"),
            ("* * * * * *", "five fields"),
            ("* * * *", "five fields"),
            ("61 * * * *", "five fields"),
            ("", "five fields"),
            ("every day", "five fields"),
            (&"1,".repeat(200), "at most 256 bytes"),
        ] {
            let error = Rhythm::cron(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let minute = Rhythm::Every(60_000);
        assert_eq!(minute.next_ms(1_000, 1_000), Some(61_000));
        assert_eq!(minute.next_ms(61_000, 61_500), Some(121_000));
        // A day later: the next one of the same row.
        assert_eq!(
            minute.next_ms(61_000, 61_000 + DAY_S * 1_000 + 5),
            Some(121_000 + DAY_S * 1_000)
        );
        let cron = cron("* * * * *");
        let at_ms = YEAR_2026 * 1_000;
        assert_eq!(
            cron.next_ms(at_ms, at_ms + DAY_S * 1_000),
            Some(at_ms + DAY_S * 1_000 + 60_000)
        );
    }

    #[test]
    fn what_is_stored_can_be_read_again() {
        for rhythm in [Rhythm::Every(1_500), cron("*/5 1-3 * * 1-5")] {
            let again = Rhythm::from_text(&rhythm.to_text()).expect("it was stored");
            assert_eq!(again.to_text(), rhythm.to_text());
        }
        for text in ["", "every", "every 0", "every x", "cron a", "yearly 1"] {
            assert!(Rhythm::from_text(text).is_none(), "{text}");
        }
    }
}
