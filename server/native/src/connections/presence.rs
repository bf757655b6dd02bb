//! Detects dead peers by pings. The time limit is generous: mobile networks stall for half a minute, and a ping is
//! queued behind data that is sent slowly.

use std::time::Duration;

use tokio::time::Instant;

/// Interval between checks.
pub const LOOK: Duration = Duration::from_secs(20);
/// How long a ping may remain unanswered; also how long a caller may accept nothing of a response.
const GONE: Duration = Duration::from_secs(60);

/// What to do at a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Ask,
    Wait,
    End,
}

/// Whether the peer has answered.
#[derive(Default)]
pub struct Presence {
    asked: Option<Instant>,
}

impl Presence {
    /// What to do now. `now` is the time of the check, not when it was due: while the machine was suspended, nothing
    /// was heard.
    pub fn look(&self, now: Instant) -> Next {
        match self.asked {
            None => Next::Ask,
            Some(asked) if now.duration_since(asked) < GONE => Next::Wait,
            Some(_) => Next::End,
        }
    }

    /// Notes that a ping was sent.
    pub fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether a ping is unanswered.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes that the ping was answered.
    pub fn answer(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_for_less_than_a_minute_is_there() {
        let start = Instant::now();
        let mut presence = Presence::default();
        assert_eq!(presence.look(start), Next::Ask);
        presence.ask(start);
        for looks in 1..3 {
            assert_eq!(presence.look(start + LOOK * looks), Next::Wait);
        }
        presence.answer();
        assert_eq!(presence.look(start + LOOK * 3), Next::Ask);
    }

    #[test]
    fn who_does_not_answer_for_a_minute_has_gone() {
        let start = Instant::now();
        let mut presence = Presence::default();
        presence.ask(start);
        assert_eq!(presence.look(start + GONE - Duration::from_millis(1)), Next::Wait);
        assert_eq!(presence.look(start + GONE), Next::End);
    }
}
