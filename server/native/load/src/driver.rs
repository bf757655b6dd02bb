//! The event loop: one thread that waits for sockets and a timer, sends calls when they are due, and counts results.

use std::io;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{self, ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::connection::{Connection, Ended};
use crate::lane::{Lane, Window};
use crate::outcome::Report;
use crate::plan::{Pace, Plan};
use crate::verdict::Ending;

/// Timer interval in open loops; calls are sent at most this late.
const TICK_NS: i64 = 250_000;
/// Interval for replacing lost connections and cancelling expired calls.
const SWEEP_NS: u64 = 20_000_000;
const TIMER: Token = Token(usize::MAX);
const READ_BYTES: usize = 262_144;
/// Grace period for answers that are still on their way when the last call has expired.
const LAST_NS: u64 = 200_000_000;

pub struct Driver {
    began: Instant,
    window: Window,
    poll: Poll,
    timer: OwnedFd,
    lanes: Vec<Lane>,
    /// By event token: each connection with its lane and its place in the lane.
    connections: Vec<Option<(Connection, usize, usize)>>,
    ended: Vec<Ended>,
    body: Vec<u8>,
    buffer: Vec<u8>,
}

impl Driver {
    pub fn new(plan: Plan) -> io::Result<Self> {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let window = Window { starts: ns(plan.warmup_seconds), ends: ns(plan.warmup_seconds + plan.seconds) };
        let timer = time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let is_paced = plan.lanes.iter().any(|lane| matches!(lane.pace, Pace::PerSecond(_)));
        let tick = Timespec { tv_sec: 0, tv_nsec: if is_paced { TICK_NS } else { SWEEP_NS as i64 } };
        time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            began: Instant::now(),
            window,
            poll,
            timer,
            lanes: plan.lanes.into_iter().map(|lane| Lane::new(lane, window)).collect(),
            connections: Vec::new(),
            ended: Vec::new(),
            body: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Runs all lanes until each call is answered or has expired.
    pub fn run(mut self) -> io::Result<Report> {
        let mut events = Events::with_capacity(1024);
        let mut busy_before = None;
        let mut next_sweep = 0;
        let last_moment = self.lanes.iter().map(Lane::last_moment).max().unwrap_or(0) + LAST_NS;
        self.began = Instant::now();
        loop {
            let now = self.now();
            if now >= self.window.starts && busy_before.is_none() {
                busy_before = Some(processor_time());
            }
            if now >= next_sweep {
                next_sweep = now + SWEEP_NS;
                self.sweep(now)?;
            }
            self.send(now);
            if now > last_moment || self.lanes.iter().all(|lane| lane.is_over(now)) {
                break;
            }
            self.poll.poll(&mut events, None)?;
            let now = self.now();
            for event in &events {
                if event.token() == TIMER {
                    // A timerfd stays readable until it is read.
                    rustix::io::read(&self.timer, &mut [0; 8])?;
                    continue;
                }
                self.take(event.token().0, event.is_readable(), event.is_writable(), now);
            }
        }
        Ok(self.report(processor_time() - busy_before.unwrap_or_default()))
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Handles the events of a connection.
    fn take(&mut self, token: usize, is_readable: bool, is_writable: bool, now: u64) {
        let Some((connection, lane, _)) = self.connections[token].as_mut() else { return };
        let mut result = if is_writable { connection.on_writable() } else { Ok(()) };
        if is_readable && result.is_ok() {
            result = connection.read(&mut self.buffer, &mut self.ended);
        }
        let lane = *lane;
        self.count(lane, now);
        self.keep_or_lose(token, result, now);
    }

    /// Starts the calls that are due, on the connections in turn, and flushes all connections.
    fn send(&mut self, now: u64) {
        for lane in &mut self.lanes {
            lane.fall_due(now);
            if let Some(in_flight) = lane.in_flight() {
                for place in 0..lane.places.len() {
                    while begin_on(lane, place, in_flight, &mut self.connections, &mut self.body, now) {}
                }
                continue;
            }
            let mut full = 0;
            while lane.is_waiting() && full < lane.places.len() {
                let place = lane.turn;
                lane.turn = (lane.turn + 1) % lane.places.len();
                let has_begun = begin_on(lane, place, usize::MAX, &mut self.connections, &mut self.body, now);
                full = if has_begun { 0 } else { full + 1 };
            }
        }
        for token in 0..self.connections.len() {
            if let Some((connection, ..)) = &mut self.connections[token] {
                let result = connection.flush();
                self.keep_or_lose(token, result, now);
            }
        }
    }

    /// Cancels expired calls, and fills every empty place with a connection.
    fn sweep(&mut self, now: u64) -> io::Result<()> {
        for token in 0..self.connections.len() {
            if let Some((connection, lane, _)) = &mut self.connections[token] {
                let lane = *lane;
                connection.expire(self.lanes[lane].expired_before(now), &mut self.ended);
                self.count(lane, now);
                self.keep_or_lose(token, Ok(()), now);
            }
        }
        for lane in 0..self.lanes.len() {
            for place in 0..self.lanes[lane].places.len() {
                if self.lanes[lane].places[place].is_none() {
                    self.connect(lane, place)?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, lane: usize, place: usize) -> io::Result<()> {
        let owner = &mut self.lanes[lane];
        let token = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        let name = &owner.plan.tokens[place % owner.plan.tokens.len()];
        let mut connection = Connection::new(&owner.plan, name)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(connection.socket(), Token(token), interests)?;
        owner.places[place] = Some(token);
        if token == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[token] = Some((connection, lane, place));
        Ok(())
    }

    /// Frees the place of a connection that accepts no more calls, and closes it once no calls are in flight.
    fn keep_or_lose(&mut self, token: usize, result: Result<(), String>, now: u64) {
        let Some((connection, lane, place)) = &mut self.connections[token] else { return };
        let (lane, place) = (*lane, *place);
        if result.is_ok() && !connection.is_leaving() {
            return;
        }
        if self.lanes[lane].places[place] == Some(token) {
            self.lanes[lane].places[place] = None;
        }
        if result.is_ok() && connection.under_way() > 0 {
            return;
        }
        if let Err(reason) = result {
            connection.lose(&reason, &mut self.ended);
        }
        self.connections[token] = None;
        self.count(lane, now);
    }

    fn count(&mut self, lane: usize, now: u64) {
        for ended in self.ended.drain(..) {
            self.lanes[lane].end(ended, now);
        }
    }

    fn report(mut self, busy: Duration) -> Report {
        let now = self.now();
        for token in 0..self.connections.len() {
            if let Some((mut connection, lane, _)) = self.connections[token].take() {
                connection.lose("", &mut self.ended);
                for (due, _) in self.ended.drain(..) {
                    self.lanes[lane].end((due, Some(Ending::Expired)), now);
                }
            }
        }
        let seconds = (self.window.ends - self.window.starts) as f64 / 1e9;
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.outcome.report(seconds)).collect();
        let calls: u64 = lanes.iter().map(|lane| lane.calls).sum();
        let processor_seconds = busy.as_secs_f64();
        Report { seconds, processor_seconds, processor_us_per_call: processor_seconds * 1e6 / calls as f64, lanes }
    }
}

/// Starts the lane's next call on a place; returns whether it could.
fn begin_on(
    lane: &mut Lane,
    place: usize,
    at_once: usize,
    connections: &mut [Option<(Connection, usize, usize)>],
    body: &mut Vec<u8>,
    now: u64,
) -> bool {
    let Some((connection, ..)) = lane.places[place].and_then(|token| connections[token].as_mut()) else { return false };
    if connection.under_way() >= at_once || !connection.has_room() {
        return false;
    }
    let Some(due) = lane.next(now) else { return false };
    lane.workload.write(body);
    connection.begin(due, lane.timeout_ms(due, now), body);
    true
}

/// CPU time that this process has used so far.
fn processor_time() -> Duration {
    let spent = time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}
