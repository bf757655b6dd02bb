//! A cache of tokens that Python found valid lately, with their owners.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Size of the cache; when it is exceeded, all are forgotten and learnt again.
const MOST_TOKENS: usize = 20_000;
/// Longer tokens are not cached: the service issues none.
const TOKEN_BYTES: usize = 256;
/// How long a token is remembered.
const KNOWN: Duration = Duration::from_secs(30);

/// Tokens, with their owner and when they were learnt.
#[derive(Default)]
pub struct Tokens(HashMap<Box<[u8]>, (Who, Instant)>);

/// The owner of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An account of this member.
    Member(u64),
    /// An admin, whose calls do not wait.
    Admin,
}

impl Tokens {
    /// Notes the owner of a token.
    pub fn learn(&mut self, token: &[u8], who: Who, now: Instant) {
        if token.len() > TOKEN_BYTES {
            return;
        }
        if self.0.len() >= MOST_TOKENS {
            self.0.clear();
        }
        self.0.insert(token.into(), (who, now));
    }

    /// The owner of a token, if it was learnt lately.
    pub fn find(&self, token: &[u8], now: Instant) -> Option<Who> {
        let (who, since) = self.0.get(token)?;
        (now.saturating_duration_since(*since) < KNOWN).then_some(*who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_for_a_while() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        tokens.learn(b"a", Who::Member(7), now);
        tokens.learn(b"b", Who::Admin, now);
        tokens.learn(&[0; 300], Who::Admin, now);
        assert_eq!((tokens.find(b"a", now), tokens.find(b"b", now)), (Some(Who::Member(7)), Some(Who::Admin)));
        assert_eq!((tokens.find(b"", now), tokens.find(&[0; 300], now)), (None, None));
        tokens.learn(&[0; TOKEN_BYTES], Who::Admin, now);
        assert_eq!(tokens.find(&[0; TOKEN_BYTES], now), Some(Who::Admin));
        assert_eq!(tokens.find(b"a", now + KNOWN), None);
        for number in 0_u64..30_000 {
            tokens.learn(&number.to_be_bytes(), Who::Member(number), now);
        }
        assert!(tokens.0.len() <= MOST_TOKENS);
    }
}
