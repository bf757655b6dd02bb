//! Results of calls: counts, latencies, reasons of failures.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::plan::Lane;
use crate::verdict::{Ending, Judge, Verdict};

/// Maximum number of distinct reasons: texts may differ for each call.
const MOST_REASONS: usize = 20;
const OTHER_REASONS: &str = "others";
/// Threshold of the `soon` count: callers notice longer delays.
const SOON_NS: u64 = 500_000_000;
/// Range of the latency histograms.
const LEAST_NS: u64 = 1_000;
const MOST_NS: u64 = 100_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// The results of a lane's calls.
pub struct Outcome {
    name: String,
    judge: Judge,
    deadline_ns: u64,
    counts: [u64; 5],
    soon: u64,
    body_bytes: u64,
    answered: Histogram<u64>,
    refused: Histogram<u64>,
    lag: Histogram<u64>,
    reasons: BTreeMap<String, u64>,
}

impl Outcome {
    pub fn new(lane: &Lane) -> Self {
        let latencies =
            || Histogram::new_with_bounds(LEAST_NS, MOST_NS, LATENCY_DIGITS).expect("these bounds are allowed");
        Self {
            name: lane.name.clone(),
            judge: Judge::new(lane),
            deadline_ns: lane.deadline_ms.map_or(u64::MAX, |ms| u64::from(ms) * 1_000_000),
            counts: [0; 5],
            soon: 0,
            body_bytes: 0,
            answered: latencies(),
            refused: latencies(),
            lag: latencies(),
            reasons: BTreeMap::new(),
        }
    }

    /// Counts a call that ended this long after it was due.
    pub fn count(&mut self, ending: &Ending, latency_ns: u64) {
        if let Ending::Answer { body, .. } = ending {
            self.body_bytes += body.len() as u64;
        }
        let (mut verdict, mut reason) = self.judge.judge(ending);
        if matches!(verdict, Verdict::Ok | Verdict::Refused) && latency_ns > self.deadline_ns {
            (verdict, reason) = (Verdict::Late, "answered after the deadline".into());
        }
        self.counts[verdict as usize] += 1;
        match verdict {
            Verdict::Ok => self.answered.saturating_record(latency_ns),
            Verdict::Refused => self.refused.saturating_record(latency_ns),
            _ => {}
        }
        self.soon += u64::from(matches!(verdict, Verdict::Ok | Verdict::Refused) && latency_ns <= SOON_NS);
        if verdict != Verdict::Ok {
            let is_known = self.reasons.len() < MOST_REASONS || self.reasons.contains_key(&reason);
            *self.reasons.entry(if is_known { reason } else { OTHER_REASONS.into() }).or_default() += 1;
        }
    }

    /// Records how late the generator sent a call.
    pub fn note_lag(&mut self, lag_ns: u64) {
        self.lag.saturating_record(lag_ns);
    }

    pub fn report(&self, seconds: f64) -> LaneReport {
        let [ok, refused, late, failed, missed] = self.counts;
        LaneReport {
            name: self.name.clone(),
            calls: ok + refused + late + failed + missed,
            ok,
            refused,
            late,
            failed,
            missed,
            soon: self.soon,
            body_bytes: self.body_bytes,
            ok_per_second: ok as f64 / seconds,
            answered_ms: Latencies::of(&self.answered),
            refused_ms: Latencies::of(&self.refused),
            lag_ms: Latencies::of(&self.lag),
            reasons: self.reasons.clone(),
        }
    }
}

/// The report of a run.
#[derive(Serialize)]
pub struct Report {
    /// Duration of the counted time.
    pub seconds: f64,
    /// CPU time of the generator in that time, and the same per call of all lanes.
    pub processor_seconds: f64,
    pub processor_us_per_call: f64,
    pub lanes: Vec<LaneReport>,
}

/// The report of a lane.
#[derive(Serialize)]
pub struct LaneReport {
    name: String,
    pub calls: u64,
    /// Answered in time, and every user and block was accepted.
    ok: u64,
    /// UNAVAILABLE, RESOURCE_EXHAUSTED, 503 or 429, in time.
    refused: u64,
    /// Not answered in time.
    late: u64,
    failed: u64,
    /// Due but never sent.
    missed: u64,
    /// Answered or refused within half a second.
    soon: u64,
    /// Total size of all answers.
    body_bytes: u64,
    ok_per_second: f64,
    answered_ms: Latencies,
    refused_ms: Latencies,
    /// How late the generator itself sent calls.
    lag_ms: Latencies,
    reasons: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Latencies {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self { p50: ms(0.5), p99: ms(0.99), p99_9: ms(0.999), max: histogram.max() as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error;
    use crate::plan::{Call, lane_for_tests};

    fn outcome() -> Outcome {
        Outcome::new(&Lane { deadline_ms: Some(1000), ..lane_for_tests(Call::Unary) })
    }

    #[test]
    fn what_is_answered_after_the_deadline_is_late() {
        let mut outcome = outcome();
        outcome.count(&Ending::Reset(error::REFUSED_STREAM), 400_000_000);
        outcome.count(&Ending::Reset(error::REFUSED_STREAM), 1_000_000_000);
        outcome.count(&Ending::Reset(error::REFUSED_STREAM), 1_000_000_001);
        let report = outcome.report(2.0);
        assert_eq!((report.calls, report.refused, report.late, report.soon), (3, 2, 1, 1));
        assert!((report.refused_ms.max - 1000.0).abs() < 1.0);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut outcome = outcome();
        for code in 100..200 {
            outcome.count(&Ending::Reset(code), 1);
        }
        assert_eq!(outcome.reasons.len(), MOST_REASONS + 1);
        assert_eq!(outcome.reasons[OTHER_REASONS], 80);
    }
}
