//! Adaptive flow control for a stream: how many bytes may have arrived that Python has not read. If we read more slowly
//! than the caller sends, the window is what was read lately in a tenth of a second: with a window sized for large
//! messages, small ones would wait for seconds and be applied long after their sender gave up. If we mostly wait for
//! the caller, the window is fully open: a distant caller can send only a window per round trip.

use std::time::{Duration, Instant};

/// Period over which bytes read and time waited are counted; the window is what is read in a `WINDOWS_A_PERIOD`th of
/// it.
const PERIOD: Duration = Duration::from_secs(1);
const WINDOWS_A_PERIOD: usize = 10;
/// Minimum size of the window.
const LEAST_BYTES: usize = 4096;

/// The window of a stream. It is fully open at first, and then reopened by what is read, or by less or more.
pub struct Window {
    most: usize,
    /// How many bytes of `most` are not open to the caller.
    kept: usize,
    /// Since when we have been waiting for the caller.
    waits_since: Option<Instant>,
    since: Instant,
    now: Period,
    before: Period,
}

/// Totals of a period.
#[derive(Clone, Copy, Default)]
struct Period {
    time: Duration,
    /// How long we waited for the caller.
    waited: Duration,
    read: usize,
}

impl Window {
    /// A window of at most `most` bytes.
    pub fn new(most: usize, now: Instant) -> Self {
        Self { most, kept: 0, waits_since: None, since: now, now: Period::default(), before: Period::default() }
    }

    /// Notes that there is nothing to read.
    pub fn wait(&mut self, now: Instant) {
        self.waits_since.get_or_insert(now);
    }

    /// By how many bytes to reopen the window, after `came` bytes have arrived; `unread` are there that Python has not
    /// read, and `missing` are missing from the next message.
    pub fn open(&mut self, came: usize, unread: usize, missing: usize, now: Instant) -> usize {
        self.kept += came;
        self.count(came, now);
        let capacity = self.wanted().saturating_sub(unread).max(missing).min(self.most);
        let opened = (self.kept + capacity).saturating_sub(self.most).min(self.kept);
        self.kept -= opened;
        opened
    }

    fn wanted(&self) -> usize {
        if self.caller_is_slower() {
            return self.most;
        }
        LEAST_BYTES.max(self.now.read.max(self.before.read) / WINDOWS_A_PERIOD)
    }

    /// Whether we waited for the caller most of the time.
    fn caller_is_slower(&self) -> bool {
        (self.now.waited + self.before.waited) * 2 > self.now.time + self.before.time
    }

    fn count(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            self.now.waited += now.duration_since(since.max(self.since));
        }
        self.now.time = now.duration_since(self.since);
        if self.now.time >= PERIOD {
            self.before = if self.now.time < PERIOD * 2 { self.now } else { Period { read: 0, ..self.now } };
            self.now = Period::default();
            self.since = now;
        }
        self.now.read += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 65_536;
    const TICK: Duration = Duration::from_millis(10);

    /// Read so many bytes each tick for so long, or less where the window has not let them in; how large the window is
    /// then.
    fn read_on(window: &mut Window, start: Instant, ticks: u32, bytes: usize) -> usize {
        let mut open = MOST - window.kept;
        for tick in 0..ticks {
            let came = bytes.min(open);
            open = open - came + window.open(came, 0, 0, start + TICK * tick);
        }
        open
    }

    #[test]
    fn it_is_what_is_read_in_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        assert_eq!(read_on(&mut window, start, 300, 500), 5_000);
        assert_eq!(read_on(&mut window, start + TICK * 300, 300, 1000), 10_000);
        assert_eq!(read_on(&mut window, start + TICK * 600, 1000, 100), LEAST_BYTES);
    }

    #[test]
    fn what_python_has_not_read_takes_of_it() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        read_on(&mut window, start, 300, 500);
        assert_eq!(window.open(500, 500, 0, start + TICK * 300), 0);
        assert_eq!(window.open(4500, 5000, 0, start + TICK * 301), 0);
        assert_eq!(window.kept, MOST);
        assert_eq!(window.open(0, 2000, 0, start + TICK * 302), 3000);
    }

    #[test]
    fn all_is_open_to_who_is_waited_for_most_of_the_time() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        for (begin, waits, open) in [(0, 7, MOST), (300, 4, 1000 * 100 / WINDOWS_A_PERIOD), (600, 7, MOST)] {
            for tick in (begin..begin + 300).step_by(10) {
                window.wait(start + TICK * tick);
                window.wait(start + TICK * (tick + 1));
                window.open(5000, 0, 0, start + TICK * (tick + waits));
                window.open(5000, 0, 0, start + TICK * (tick + waits + 1));
            }
            assert_eq!(MOST - window.kept, open);
        }
    }

    #[test]
    fn who_was_silent_for_long_is_a_quick_caller_again_a_period_later() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        window.wait(start);
        window.open(100, 0, 0, start + TICK * 1000);
        assert_eq!(MOST - window.kept, MOST);
        assert_eq!(read_on(&mut window, start + TICK * 1000, 300, 500), 5_000);
    }

    #[test]
    fn a_long_message_has_room_to_become_whole() {
        let start = Instant::now();
        let mut window = Window::new(MOST, start);
        read_on(&mut window, start, 3000, 100);
        assert_eq!(window.open(LEAST_BYTES, 0, 30_000, start + TICK * 3000), 30_000);
        assert_eq!(MOST - window.kept, 30_000);
        window.open(30_000, 0, 1_000_000, start + TICK * 3001);
        assert_eq!(window.kept, 0);
    }
}
