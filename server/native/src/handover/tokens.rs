//! Whose tokens are whose: Python has taught it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Tokens whose members are known; past it, all are forgotten, and taught again.
const MOST_TOKENS: usize = 20_000;
/// A longer one is none of ours.
const TOKEN_BYTES: usize = 256;
/// How long it counts what was taught of a token.
const KNOWN: Duration = Duration::from_secs(30);

/// Which token is whose.
#[derive(Default)]
pub struct Tokens(HashMap<Box<[u8]>, (Who, Instant)>);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An account of this member.
    Member(u64),
    /// Who needs no turn.
    Admin,
}

impl Tokens {
    /// This token is theirs.
    pub fn learn(&mut self, token: &[u8], who: Who, now: Instant) {
        if token.len() > TOKEN_BYTES {
            return;
        }
        if self.0.len() >= MOST_TOKENS {
            self.0.clear();
        }
        self.0.insert(token.into(), (who, now));
    }

    /// Whose the token is, where that was taught lately.
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
