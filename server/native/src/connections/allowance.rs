//! A rate limit with a burst (token bucket).

use std::time::Duration;

use tokio::time::Instant;

/// What is left of the limit.
pub struct Allowance {
    most: u32,
    every: Duration,
    /// When the full burst will be available again.
    full: Instant,
}

impl Allowance {
    /// A limit of `most` at once, refilled by one per `every`.
    pub fn new(most: u32, every: Duration) -> Self {
        Self { most, every, full: Instant::now() }
    }

    /// Takes `times` from the limit if that much is left; returns whether it was.
    pub fn take(&mut self, times: u32, now: Instant) -> bool {
        let full = self.full.max(now) + self.every * times;
        if full - now > self.every * self.most {
            return false;
        }
        self.full = full;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_by_one() {
        let every = Duration::from_millis(10);
        let mut allowance = Allowance::new(3, every);
        let start = Instant::now();
        let mut count = |now, times| (0..times).filter(|_| allowance.take(1, now)).count();
        assert_eq!(count(start, 10), 3);
        assert_eq!(count(start + every, 10), 1);
        assert_eq!(count(start + every * 3, 10), 2);
        assert_eq!(count(start + every * 1000, 10), 3);
        assert!(!allowance.take(4, start + every * 2000));
        assert!(allowance.take(3, start + every * 2000));
    }
}
