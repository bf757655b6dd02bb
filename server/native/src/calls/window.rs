//! How much the caller of a stream may have sent that is not read yet: what was lately read in a quarter of a second. In a
//! window that is right for large messages, small ones waited for seconds, and were applied when their sender had long
//! given them up.

use std::time::{Duration, Instant};

/// For which time what was read is counted; in a part of it, a window's worth is read.
const PERIOD: Duration = Duration::from_secs(1);
const WINDOWS_A_PERIOD: usize = 4;
/// Of a stream from which little was read, or nothing yet.
const LEAST_BYTES: usize = 4096;

/// A stream's window. All of it is open at first; from then on, it opens again by what is read, or by less or more.
pub struct Window {
    most: usize,
    /// What of it is not open.
    kept: usize,
    /// When this period began, what was read in it, and what in the one before.
    since: Instant,
    read: usize,
    before: usize,
}

impl Window {
    /// Of so many bytes, at most.
    pub fn new(most: usize, now: Instant) -> Self {
        Self { most, kept: 0, since: now, read: 0, before: 0 }
    }

    /// So many bytes have been read, of a message that lacks so many more. For how many the window opens again.
    pub fn open(&mut self, bytes: usize, missing: usize, now: Instant) -> usize {
        self.count(bytes, now);
        let lately = self.read.max(self.before) / WINDOWS_A_PERIOD;
        let wanted = lately.max(LEAST_BYTES).max(missing).min(self.most);
        self.kept += bytes;
        let opened = (self.kept + wanted).saturating_sub(self.most).min(self.kept);
        self.kept -= opened;
        opened
    }

    fn count(&mut self, bytes: usize, now: Instant) {
        let gone = now.duration_since(self.since);
        if gone >= PERIOD {
            self.before = if gone < PERIOD * 2 { self.read } else { 0 };
            self.read = 0;
            self.since = now;
        }
        self.read += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 65_536;
    const TICK: Duration = Duration::from_millis(10);

    /// Read so many bytes each tick for so long, or less where the window has not let them in; how large the window is then.
    fn read_on(window: &mut Window, start: Instant, ticks: u32, bytes: usize) -> usize {
        let mut open = MOST - window.kept;
        for tick in 0..ticks {
            let came = bytes.min(open);
            open = open - came + window.open(came, 0, start + TICK * tick);
        }
        open
    }

    #[test]
    fn it_is_what_is_read_in_a_quarter_of_a_second() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        assert_eq!(read_on(&mut window, start, 300, 500), 12_500);
        assert_eq!(read_on(&mut window, start + TICK * 300, 300, 1000), 25_000);
        assert_eq!(read_on(&mut window, start + TICK * 600, 300, 10_000), MOST);
        assert_eq!(read_on(&mut window, start + TICK * 900, 3000, 100), LEAST_BYTES);
    }

    #[test]
    fn who_was_silent_begins_with_little() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        read_on(&mut window, start, 300, 1000);
        let open = MOST - window.kept;
        assert_eq!(window.open(open, 0, start + TICK * 900), LEAST_BYTES.max(open / WINDOWS_A_PERIOD));
    }

    #[test]
    fn a_long_message_has_room_to_become_whole() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        read_on(&mut window, start, 3000, 100);
        assert_eq!(window.open(LEAST_BYTES, 30_000, start + TICK * 3000), 30_000);
        assert_eq!(MOST - window.kept, 30_000);
        window.open(30_000, 1_000_000, start + TICK * 3001);
        assert_eq!(window.kept, 0);
    }
}
