//! The plan of a run. It is read from standard input, so that tokens do not appear on a command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use serde::Deserialize;

use crate::socket::trusting;

/// A run: its lanes run at the same time, in one thread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Duration of the counted time.
    pub seconds: f64,
    /// Duration of the uncounted time before.
    #[serde(default = "one_second")]
    pub warmup_seconds: f64,
    pub lanes: Vec<Lane>,
}

/// Calls of one kind and size, which are counted together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    pub name: String,
    pub address: SocketAddr,
    pub call: Call,
    /// The request of `other` calls.
    pub request: Option<Request>,
    /// Tokens, assigned to the connections in turn.
    pub tokens: Vec<String>,
    /// Users of each call, if it has any, and blocks of each user.
    #[serde(default = "one")]
    pub users: usize,
    #[serde(default = "one")]
    pub blocks: usize,
    pub connections: usize,
    pub pace: Pace,
    /// Counted from when a call is due; gRPC callers send what is left of it. None: callers wait without limit.
    pub deadline_ms: Option<u32>,
    #[serde(default)]
    pub pool: Pool,
    /// TLS configuration, from the file of the service's CA; None without TLS.
    #[serde(default, rename = "ca", deserialize_with = "trusting")]
    pub tls: Option<Arc<ClientConfig>>,
}

/// The kind of call.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// ApplySegments.
    Unary,
    /// StreamSegments, one stream a connection.
    Stream,
    /// POST /rt-segment over HTTP/2.
    Rest,
    /// POST /rt-segment over HTTP/1.1, one call at a time on a connection.
    RestHttp1,
    /// The lane's `request` over HTTP/2, repeated. Of its answers, only the status is checked.
    Other,
}

impl Call {
    /// Whether the body is protobuf.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Unary | Self::Stream)
    }
}

/// The request of `other` calls.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Header fields besides `authorization`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Vec<u8>,
}

/// When calls are made.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Closed loop: this many calls in flight on each connection.
    InFlight(usize),
    /// Open loop: this many calls per second, regardless of results. One is due in each interval, at a varying moment,
    /// so that lanes do not run in lockstep.
    PerSecond(f64),
}

/// The users that calls cycle through.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    pub users: u64,
    /// The lowest ID; all IDs have as many digits as this one.
    pub first_id: u64,
    pub order: Order,
}

/// The order in which users are taken.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By ID.
    Sequential,
    /// A permutation in which successive users are far apart.
    Scattered,
}

impl Default for Pool {
    fn default() -> Self {
        Self { users: 50_000, first_id: 10_000_000_000_000, order: Order::Sequential }
    }
}

fn one_second() -> f64 {
    1.0
}

fn one() -> usize {
    1
}

impl Plan {
    /// Parses and checks a plan; an error is one line.
    pub fn read(text: &str) -> Result<Self, String> {
        let plan: Self = serde_json::from_str(text).map_err(|error| format!("the plan: {error}"))?;
        if !(plan.seconds > 0.0 && plan.warmup_seconds >= 0.0) {
            return Err("seconds must be above 0, and warmup_seconds not below it".into());
        }
        for lane in &plan.lanes {
            lane.check().map_err(|problem| format!("lane {}: {problem}", lane.name))?;
        }
        Ok(plan)
    }
}

impl Lane {
    fn check(&self) -> Result<(), String> {
        let pool = &self.pool;
        let digits = |id: u64| id.checked_ilog10();
        let last = pool.first_id.checked_add(pool.users);
        let problem = match self.pace {
            _ if self.tokens.is_empty() => "it has no token",
            _ if self.connections < self.tokens.len() => "each token needs a connection",
            _ if !(1..=1000).contains(&self.users) => "users must be 1 to 1000",
            _ if !(1..=100).contains(&self.blocks) => "blocks must be 1 to 100",
            _ if !pool.users.is_multiple_of(4) => {
                "the pool's users must be a multiple of 4, as there are four campaigns"
            }
            _ if pool.users < self.users as u64 => "the pool has fewer users than a call",
            _ if last.map(|id| digits(id - 1)) != Some(digits(pool.first_id)) => {
                "the pool's IDs must have as many digits as the first"
            }
            _ if self.call == Call::RestHttp1 && self.tls.is_some() => "with a ca, calls go over HTTP/2",
            _ if (self.call == Call::Other) != self.request.is_some() => "other calls, and no others, have a request",
            Pace::InFlight(0) => "in_flight must be above 0",
            Pace::PerSecond(rate) if rate.is_nan() || rate <= 0.0 => "per_second must be above 0",
            Pace::PerSecond(_) if self.deadline_ms.is_none() => "an open loop needs a deadline",
            _ => return Ok(()),
        };
        Err(problem.into())
    }
}

/// A lane of calls with one user and one block.
#[cfg(test)]
pub fn lane_for_tests(call: Call) -> Lane {
    Lane {
        name: "test".into(),
        address: ([127, 0, 0, 1], 1).into(),
        call,
        request: None,
        tokens: vec!["token".into()],
        users: 1,
        blocks: 1,
        connections: 1,
        pace: Pace::InFlight(1),
        deadline_ms: None,
        pool: Pool::default(),
        tls: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: &str = r#"{"name": "a", "address": "127.0.0.1:1", "call": "rest_http1", "tokens": ["t"], "users": 10,
        "blocks": 2, "connections": 4, "pace": {"per_second": 50}, "deadline_ms": 2000, "pool": {"order": "scattered"}}"#;

    fn read(lane: &str) -> Result<Plan, String> {
        Plan::read(&format!(r#"{{"seconds": 1, "lanes": [{lane}]}}"#))
    }

    #[test]
    fn a_plan_is_read() {
        let plan = read(LANE).unwrap();
        assert_eq!((plan.warmup_seconds, plan.lanes[0].pool.users), (1.0, 50_000));
        assert!(plan.lanes[0].call == Call::RestHttp1 && plan.lanes[0].pool.order == Order::Scattered);
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_told() {
        for (right, wrong, problem) in [
            (r#"["t"]"#, "[]", "lane a: it has no token"),
            (r#"["t"]"#, r#"["1", "2", "3", "4", "5"]"#, "lane a: each token needs a connection"),
            ("rest_http1", "other", "lane a: other calls, and no others, have a request"),
            ("10,", "1001,", "lane a: users must be 1 to 1000"),
            (r#""blocks": 2"#, r#""blocks": 0"#, "lane a: blocks must be 1 to 100"),
            ("50}", "0}", "lane a: per_second must be above 0"),
            (r#"{"per_second": 50}"#, r#"{"in_flight": 0}"#, "lane a: in_flight must be above 0"),
            ("2000", "null", "lane a: an open loop needs a deadline"),
            (r#""order": "scattered""#, r#""users": 8"#, "lane a: the pool has fewer users than a call"),
            (
                r#""order": "scattered""#,
                r#""users": 6"#,
                "lane a: the pool's users must be a multiple of 4, as there are four campaigns",
            ),
            (
                r#""order": "scattered""#,
                r#""users": 12, "first_id": 90"#,
                "lane a: the pool's IDs must have as many digits as the first",
            ),
        ] {
            assert!(LANE.contains(right), "{right}");
            assert_eq!(read(&LANE.replace(right, wrong)).err().as_deref(), Some(problem));
        }
        assert!(read(&LANE.replace("blocks", "bricks")).is_err());
        let nowhere = read(&LANE.replace("\"users\": 10", "\"ca\": \"/nowhere\"")).err().unwrap();
        assert!(nowhere.starts_with("the plan: /nowhere: "), "{nowhere}");
        assert!(Plan::read(r#"{"seconds": 0, "lanes": []}"#).is_err());
    }
}
