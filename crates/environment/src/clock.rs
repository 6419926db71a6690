//! Wall and monotonic time behind one seam.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;

/// A moment of wall time: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` seconds after the Unix epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole days since the Unix epoch, rounded down: the UTC calendar day.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// Midnight UTC at the start of day `day` since the Unix epoch.
    #[must_use]
    pub const fn start_of_day(day: i64) -> Self {
        Self(day.saturating_mul(86_400_000_000))
    }

    /// The same moment as a calendar date and time in UTC, to the microsecond.
    ///
    /// Moments outside the years -9999 to 9999 are given as the nearest end of that span.
    #[must_use]
    pub fn to_utc(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 1_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(if self.0 < 0 {
            time::Date::MIN.midnight().assume_utc()
        } else {
            time::Date::MAX.midnight().assume_utc()
        })
    }

    /// The time from `earlier` to `self`, or zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        Self(i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.to_utc();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            utc.year(),
            u8::from(utc.month()),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second(),
            utc.microsecond()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A moment of monotonic time, meaningful only against another of the same clock in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The time from `earlier` to `self`, or zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// The seam through which the workspace learns the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time. It may be simulated, stand still, or be set back by an administrator.
    fn now(&self) -> Timestamp;

    /// Monotonic time. It never goes back and always runs, also where wall time is simulated.
    fn monotonic(&self) -> Monotonic;

    /// A channel that changes whenever wall time jumps other than by passing.
    ///
    /// Whoever waits for a date waits for this too.
    fn jumps(&self) -> watch::Receiver<u64>;
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
    jumps: watch::Sender<u64>,
}

impl SystemClock {
    /// The clock of the machine.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock the others take"
    )]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            jumps: watch::Sender::new(0),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock the others take"
    )]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp::default() + since,
            Err(before) => Timestamp::default() - before.duration(),
        }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.origin.elapsed())
    }

    fn jumps(&self) -> watch::Receiver<u64> {
        self.jumps.subscribe()
    }
}

/// A wall clock that stands still until it is told to advance.
///
/// Its monotonic time is the machine's: how long a key stays in memory is not simulated.
#[derive(Debug)]
pub struct SimulatedClock {
    now: Mutex<Timestamp>,
    machine: SystemClock,
}

impl SimulatedClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            now: Mutex::new(start),
            machine: SystemClock::new(),
        }
    }

    /// Moves the clock forward by `span`, tells all who wait, and returns the new time.
    pub fn advance(&self, span: Duration) -> Timestamp {
        let now = {
            let mut now = self.now.lock();
            *now = *now + span;
            *now
        };
        self.machine.jumps.send_modify(|count| *count += 1);
        now
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn monotonic(&self) -> Monotonic {
        self.machine.monotonic()
    }

    fn jumps(&self) -> watch::Receiver<u64> {
        self.machine.jumps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_and_knows_its_day() {
        let moment = Timestamp::from_seconds(1_767_225_600) + Duration::from_micros(7);
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00.000007Z");
        assert_eq!(
            Timestamp::start_of_day(moment.day()),
            Timestamp::from_seconds(1_767_225_600)
        );
        assert_eq!(Timestamp::from_micros(-1).day(), -1);
        assert_eq!(Timestamp::from(moment.to_utc()), moment);
    }

    #[test]
    fn extreme_timestamps_do_not_panic() {
        let _ = Timestamp::from_micros(i64::MAX).to_string();
        let _ = Timestamp::from_micros(i64::MIN).to_string();
        assert_eq!(
            Timestamp::from_micros(i64::MAX) + Duration::MAX,
            Timestamp::from_micros(i64::MAX)
        );
    }

    #[test]
    fn a_simulated_clock_stands_still_until_advanced_and_says_so() {
        let clock = SimulatedClock::new(Timestamp::from_seconds(100));
        let jumps = clock.jumps();
        assert_eq!(clock.now(), Timestamp::from_seconds(100));
        assert!(!jumps.has_changed().expect("the clock is alive"));
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(clock.now(), Timestamp::from_seconds(3_700));
        assert!(jumps.has_changed().expect("the clock is alive"));
    }
}
