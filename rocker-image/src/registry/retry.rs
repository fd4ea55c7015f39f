//! Whether, and when, to do again what failed.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::Error;
use crate::client::ClientOptions;

/// A registry that wants a longer pause gets an error instead.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long to wait before doing again what failed with `error` for the `attempt`th time, counted from 0; `None` to give
/// up.
pub(super) fn pause(options: &ClientOptions, error: &Error, attempt: u32) -> Option<Duration> {
    let asked = match error {
        Error::Unreachable { .. } => None,
        Error::Token {
            status: 408 | 429 | 500 | 502 | 503 | 504,
            retry_after,
            ..
        }
        | Error::UnexpectedStatus {
            status: 408 | 500 | 502 | 503 | 504,
            retry_after,
            ..
        }
        | Error::PushRefused {
            status: 408 | 500 | 502 | 503 | 504,
            retry_after,
            ..
        }
        | Error::RateLimited { retry_after, .. } => *retry_after,
        _ => return None,
    };
    if attempt >= options.retries || asked.is_some_and(|pause| pause > MAX_PAUSE) {
        return None;
    }
    let backoff = options
        .backoff
        .saturating_mul(1 << attempt.min(16))
        .min(MAX_PAUSE);
    // Clients that failed together should not come back together: up to half as long again.
    let jitter = RandomState::new().hash_one(attempt) % 512;
    let jitter = backoff.mul_f64(jitter as f64 / 1024.0);
    Some(asked.unwrap_or_default().max(backoff) + jitter)
}

/// The pause that a `Retry-After` header asks for: in seconds, or until a time by the server's clock
/// ([RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)).
pub(super) fn after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let value = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = text(DATE).and_then(seconds).or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(since.ok()?.as_secs())
    });
    // A time that has passed is no reason to wait.
    Some(Duration::from_secs(seconds(value)?.saturating_sub(now?)))
}

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`, in seconds since 1970
/// ([RFC 9110, section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7)). The two obsolete forms are not read.
fn seconds(date: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = date.split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = words[..] else {
        return None;
    };
    let month = MONTHS
        .find(month)
        .filter(|at| month.len() == 3 && at % 3 == 0)? as u64
        / 3;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let parts: Vec<u64> = time
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [hour, minute, second] = parts[..] else {
        return None;
    };
    if !(1..=31).contains(&day)
        || !(1970..=9999).contains(&year)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = match month {
        0 | 1 => (year - 1, month + 10),
        month => (year, month - 2),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // By this count, which begins on 0000-03-01, that is 1970-01-01.
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Source;

    fn unreachable() -> Error {
        Error::Unreachable {
            url: String::new(),
            source: Source::from(""),
        }
    }

    fn limited(retry_after: Option<Duration>) -> Error {
        Error::RateLimited {
            url: String::new(),
            retry_after,
        }
    }

    fn token(status: u16, retry_after: Option<Duration>) -> Error {
        Error::Token {
            realm: String::new(),
            status,
            message: None,
            retry_after,
        }
    }

    #[test]
    fn pauses_double_and_nobody_waits_as_long_as_another() {
        let options = ClientOptions::default()
            .retries(4)
            .backoff(Duration::from_secs(1));
        for attempt in 0..4 {
            let pauses: Vec<Duration> = (0..20)
                .map(|_| pause(&options, &unreachable(), attempt).unwrap())
                .collect();
            let least = Duration::from_secs(1 << attempt);
            assert!(
                pauses
                    .iter()
                    .all(|pause| (least..least * 3 / 2).contains(pause)),
                "{pauses:?}"
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        assert_eq!(pause(&options, &unreachable(), 4), None);
    }

    #[test]
    fn a_server_gets_the_pause_that_it_asks_for_if_that_is_bearable() {
        let options = ClientOptions::default().backoff(Duration::from_secs(1));
        for error in [
            limited,
            |after| token(429, after),
            |after| token(503, after),
        ] {
            let asked = |seconds| pause(&options, &error(Some(Duration::from_secs(seconds))), 0);
            let ten = asked(10).unwrap();
            assert!((10.0..10.5).contains(&ten.as_secs_f64()), "{ten:?}");
            assert!(asked(0).unwrap() >= Duration::from_secs(1));
            assert_eq!(asked(31), None);
        }
    }

    #[test]
    fn what_will_not_be_otherwise_the_next_time_is_not_done_again() {
        let options = ClientOptions::default();
        assert!(pause(&options, &token(503, None), 0).is_some());
        assert_eq!(pause(&options, &token(401, None), 0), None);
        let missing = Error::NoSuchBlob {
            digest: crate::Digest::sha256(b""),
        };
        assert_eq!(pause(&options, &missing, 0), None);
    }

    #[test]
    fn dates_are_read_and_nothing_else_is_taken_for_one() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(seconds(date), Some(expected), "{date}");
        }
        for wrong in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 0 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        let headers = |retry: &str, date: &str| {
            let all = [
                (RETRY_AFTER, retry.parse().unwrap()),
                (DATE, date.parse().unwrap()),
            ];
            after(&HeaderMap::from_iter(all))
        };
        let (now, soon) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:44 GMT",
        );
        assert_eq!(headers(soon, now), Some(Duration::from_secs(7)));
        assert_eq!(headers(now, soon), Some(Duration::ZERO));
        assert_eq!(headers("12", now), Some(Duration::from_secs(12)));
        assert_eq!(headers("soon", now), None);
        // By our own clock that is long ago.
        assert_eq!(headers(soon, "today"), Some(Duration::ZERO));
    }
}
