//! How much is decompressed for callers whose tokens are not known: a kilobyte can become a megabyte, and whoever sends
//! such messages with no token, or with tokens that are made up, holds up nobody else by them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use crate::grpc::Flaw;
use crate::locks::lock;

/// What a decompressed byte costs: all of these callers together have 50 MB a second.
const BYTE: Duration = Duration::from_nanos(20);
/// What they may have at once: 16 MB, which takes the host's thread some 10 ms.
const AT_ONCE: Duration = Duration::from_millis(320);

/// What was decompressed for them.
pub struct Inflations {
    /// When all of it is paid for.
    paid: Mutex<Instant>,
}

impl Default for Inflations {
    fn default() -> Self {
        Self { paid: Mutex::new(Instant::now()) }
    }
}

impl Inflations {
    /// Wait until another message may be decompressed, which may become so many bytes.
    pub async fn turn(&self, most: usize) {
        loop {
            let now = Instant::now();
            let left = self.left(now);
            if left.is_zero() {
                return self.pay(most, now);
            }
            sleep(left).await;
        }
    }

    /// A message has had its turn. One that is wrong, or too long, may have become `most` bytes.
    pub fn note(&self, message: &Result<Bytes, Flaw>, most: usize) {
        let bytes = message.as_ref().map_or(most, Bytes::len);
        let mut paid = lock(&self.paid);
        *paid = paid.checked_sub(cost(most.saturating_sub(bytes))).unwrap_or(*paid);
    }

    fn left(&self, now: Instant) -> Duration {
        lock(&self.paid).saturating_duration_since(now).saturating_sub(AT_ONCE)
    }

    fn pay(&self, bytes: usize, now: Instant) {
        let mut paid = lock(&self.paid);
        *paid = (*paid).max(now) + cost(bytes);
    }
}

fn cost(bytes: usize) -> Duration {
    BYTE * u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_at_once_and_so_much_a_second() {
        let (inflations, start) = (Inflations::default(), Instant::now() + Duration::from_secs(1));
        for _ in 0..16 {
            assert!(inflations.left(start).is_zero());
            inflations.pay(1_000_000, start);
        }
        assert!(inflations.left(start).is_zero());
        inflations.pay(1_000_000, start);
        assert_eq!(inflations.left(start), Duration::from_millis(20));
        assert!(inflations.left(start + Duration::from_millis(20)).is_zero());
        inflations.pay(1_000_000, start + Duration::from_secs(1));
        let left = inflations.left(start);
        inflations.note(&Ok(Bytes::from(vec![0; 1_000_000])), 1_000_000);
        inflations.note(&Err(Flaw::Unreadable), 1_000_000);
        assert_eq!(inflations.left(start), left);
        inflations.note(&Ok(Bytes::from_static(&[0; 1000])), 1_000_000);
        assert!(inflations.left(start + Duration::from_millis(700)).is_zero());
        assert!(inflations.left(start + Duration::from_secs(1)).is_zero());
    }
}
