//! Whether anyone is at the other end of a connection: it is asked now and then, and who does not answer for long has
//! gone. Networks of phones stand still for half a minute, and what is sent slowly stands before the question.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked.
pub const LOOK: Duration = Duration::from_secs(20);
/// How long a question may be without an answer: as long as an answer of which nothing is taken.
const GONE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Ask,
    Wait,
    End,
}

/// What is known of the other end.
#[derive(Default)]
pub struct Presence {
    asked: Option<Instant>,
}

impl Presence {
    /// What to do next. `now` is when that is asked, not when it was due: a machine that stood still has heard nobody.
    pub fn look(&self, now: Instant) -> Next {
        match self.asked {
            None => Next::Ask,
            Some(asked) if now.duration_since(asked) < GONE => Next::Wait,
            Some(_) => Next::End,
        }
    }

    /// Note that the peer was asked whether it is there.
    pub fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether an answer is awaited.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// There was an answer.
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
