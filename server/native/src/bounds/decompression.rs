//! A rate limit on decompression for callers whose tokens are not known yet. A kilobyte can expand to a megabyte; this
//! keeps senders without a token, or with invented ones, from taking the host's time from everyone else.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use crate::grpc::Flaw;
use crate::locks::lock;

/// Price of a decompressed byte: all these callers together get 50 MB a second.
const BYTE: Duration = Duration::from_nanos(20);
/// Permitted burst: 16 MB, which take the host's thread some 10 ms.
const AT_ONCE: Duration = Duration::from_millis(320);

/// The rate limit's state.
pub struct DecompressionLimit {
    /// When everything decompressed so far is paid for.
    paid: Mutex<Instant>,
}

impl Default for DecompressionLimit {
    fn default() -> Self {
        Self { paid: Mutex::new(Instant::now()) }
    }
}

impl DecompressionLimit {
    /// Waits until the limit permits another message, and charges it with `most` bytes, the most that it can expand to.
    pub async fn acquire(&self, most: usize) {
        loop {
            let now = Instant::now();
            let left = self.left(now);
            if left.is_zero() {
                return self.pay(most, now);
            }
            sleep(left).await;
        }
    }

    /// Refunds what the message stayed below `most` bytes. A message that is malformed or too long is charged in full.
    pub fn refund(&self, message: &Result<Bytes, Flaw>, most: usize) {
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
        let (limit, start) = (DecompressionLimit::default(), Instant::now() + Duration::from_secs(1));
        for _ in 0..16 {
            assert!(limit.left(start).is_zero());
            limit.pay(1_000_000, start);
        }
        assert!(limit.left(start).is_zero());
        limit.pay(1_000_000, start);
        assert_eq!(limit.left(start), Duration::from_millis(20));
        assert!(limit.left(start + Duration::from_millis(20)).is_zero());
        limit.pay(1_000_000, start + Duration::from_secs(1));
        let left = limit.left(start);
        limit.refund(&Ok(Bytes::from(vec![0; 1_000_000])), 1_000_000);
        limit.refund(&Err(Flaw::Unreadable), 1_000_000);
        assert_eq!(limit.left(start), left);
        limit.refund(&Ok(Bytes::from_static(&[0; 1000])), 1_000_000);
        assert!(limit.left(start + Duration::from_millis(700)).is_zero());
        assert!(limit.left(start + Duration::from_secs(1)).is_zero());
    }
}
