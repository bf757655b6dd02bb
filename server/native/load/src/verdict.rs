//! Classification of how calls end.

use crate::http::{Head, PREFIX_BYTES, error};
use crate::plan::{Call, Lane};
use crate::workload;

/// How much of an unexpected answer is reported.
const TOLD_BYTES: usize = 80;

/// Tag of `request_id` in a `StreamSegmentsResponse`: field 3, length-delimited.
const REQUEST_ID: u8 = 0x1a;

/// How a call ended.
#[derive(Debug)]
pub enum Ending {
    /// With the answer of a unary RPC or a REST call.
    Answer { head: Head, body: Vec<u8> },
    /// With a message of a stream.
    Message(Vec<u8>),
    /// With an HTTP/2 error code.
    Reset(u32),
    /// Its connection was lost.
    Lost(String),
    /// Its deadline passed.
    Expired,
    /// It was never sent: it expired, or too many calls waited.
    Unsent,
}

/// How a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every user and block was accepted.
    Ok,
    /// UNAVAILABLE, RESOURCE_EXHAUSTED, 503 or 429.
    Refused,
    Late,
    Failed,
    /// Due but never sent.
    Missed,
}

/// Classifies the ends of a lane's calls.
pub struct Judge {
    call: Call,
    whole_message: Vec<u8>,
    whole_json: String,
}

impl Judge {
    pub fn new(lane: &Lane) -> Self {
        let memberships = lane.users * lane.blocks;
        Self {
            call: lane.call,
            whole_message: workload::whole_answer(lane.users, lane.blocks),
            whole_json: format!(
                r#"{{"users_in_request":{},"segments_in_request":{memberships}}},"warnings":[]"#,
                lane.users
            ),
        }
    }

    /// The verdict and, unless it is OK, the reason.
    pub fn judge(&self, ending: &Ending) -> (Verdict, String) {
        match ending {
            Ending::Answer { head, body } => match head.grpc_status {
                // Envoy's transcoder leaves `grpc-status` in the headers of REST answers, too.
                Some(status) if !self.is_rest() => self.judge_grpc(status, &head.grpc_message, body),
                _ => self.judge_http(head.http_status.unwrap_or(0), body),
            },
            Ending::Message(message) if self.is_whole_message(message) => (Verdict::Ok, String::new()),
            Ending::Message(message) => match error_of(message) {
                Some(status) => (verdict_of_grpc(status), format!("gRPC {status} in a stream")),
                None => (Verdict::Failed, unfit(message)),
            },
            Ending::Reset(code @ (error::REFUSED_STREAM | error::ENHANCE_YOUR_CALM)) => {
                (Verdict::Refused, format!("reset {code}"))
            }
            Ending::Reset(code) => (Verdict::Failed, format!("reset {code}")),
            Ending::Lost(reason) => (Verdict::Failed, reason.clone()),
            Ending::Expired => (Verdict::Late, "no answer before the deadline".into()),
            Ending::Unsent => (Verdict::Missed, "not sent before the deadline".into()),
        }
    }

    fn judge_grpc(&self, status: u32, message: &str, body: &[u8]) -> (Verdict, String) {
        match status {
            0 if self.call == Call::Other || body.get(PREFIX_BYTES..) == Some(&self.whole_message) => {
                (Verdict::Ok, String::new())
            }
            0 => (Verdict::Failed, unfit(body)),
            _ => (verdict_of_grpc(status), format!("gRPC {status} {message}").trim_end().to_owned()),
        }
    }

    fn judge_http(&self, status: u16, body: &[u8]) -> (Verdict, String) {
        let verdict = match status {
            200 if self.call == Call::Other || self.is_rest() && self.is_whole_json(body) => {
                return (Verdict::Ok, String::new());
            }
            200 => return (Verdict::Failed, unfit(body)),
            429 | 503 => Verdict::Refused,
            504 => Verdict::Late,
            _ => Verdict::Failed,
        };
        (verdict, format!("HTTP {status}"))
    }

    fn is_rest(&self) -> bool {
        matches!(self.call, Call::Rest | Call::RestHttp1)
    }

    /// Whether a stream's request was accepted completely; the answer may also contain a request ID.
    fn is_whole_message(&self, message: &[u8]) -> bool {
        match message.strip_prefix(self.whole_message.as_slice()) {
            Some([]) => true,
            Some([REQUEST_ID, size, name @ ..]) => name.len() == usize::from(*size),
            _ => false,
        }
    }

    fn is_whole_json(&self, body: &[u8]) -> bool {
        let text = String::from_utf8_lossy(body);
        // Go's JSON encoder varies its white space.
        text.contains(&self.whole_json) || text.split_ascii_whitespace().collect::<String>().contains(&self.whole_json)
    }
}

fn unfit(body: &[u8]) -> String {
    format!("an answer does not fit its call: {}", body[..body.len().min(TOLD_BYTES)].escape_ascii())
}

/// UNAVAILABLE and RESOURCE_EXHAUSTED are refusals; DEADLINE_EXCEEDED is late.
fn verdict_of_grpc(status: u32) -> Verdict {
    match status {
        8 | 14 => Verdict::Refused,
        4 => Verdict::Late,
        _ => Verdict::Failed,
    }
}

/// The code of the `error` in a StreamSegmentsResponse: field 1 in field 2.
fn error_of(message: &[u8]) -> Option<u32> {
    let (&tag, rest) = message.split_first()?;
    let start = rest.iter().position(|octet| octet & 0x80 == 0)? + 1;
    match rest.get(start..)? {
        [0x08, code, ..] if tag == 0x12 => Some(u32::from(*code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::lane_for_tests;

    fn grpc(status: u32, body: &[u8]) -> Ending {
        Ending::Answer { head: Head { grpc_status: Some(status), ..Head::default() }, body: body.into() }
    }

    fn http(status: u16, body: &str) -> Ending {
        Ending::Answer { head: Head { http_status: Some(status), ..Head::default() }, body: body.into() }
    }

    fn judge(call: Call, ending: &Ending) -> Verdict {
        Judge::new(&Lane { blocks: 2, ..lane_for_tests(call) }).judge(ending).0
    }

    #[test]
    fn endings_are_told_apart() {
        let whole = b"\0\0\0\0\x0c\x0a\x0a\x0a\x02OK\x12\x04\x08\x01\x10\x02";
        let compact = r#"{"response":{"message":{"users_in_request":1,"segments_in_request":2},"warnings":[]}}"#;
        let json = &compact.replace(':', ": ");
        let transcoded = Head { http_status: Some(200), grpc_status: Some(0), ..Head::default() };
        for (call, ending, verdict) in [
            (Call::Unary, grpc(0, whole), Verdict::Ok),
            (Call::Unary, grpc(0, b""), Verdict::Failed),
            (Call::Unary, grpc(0, &whole[..16]), Verdict::Failed),
            (Call::Unary, grpc(4, b""), Verdict::Late),
            (Call::Unary, grpc(8, b""), Verdict::Refused),
            (Call::Unary, grpc(13, b""), Verdict::Failed),
            (Call::Unary, grpc(14, b""), Verdict::Refused),
            (Call::Rest, http(200, compact), Verdict::Ok),
            (Call::Rest, http(200, json), Verdict::Ok),
            (Call::Rest, http(200, &json.replace('2', "1")), Verdict::Failed),
            (Call::Rest, Ending::Answer { head: transcoded, body: compact.into() }, Verdict::Ok),
            (Call::Other, http(200, ""), Verdict::Ok),
            (Call::Other, grpc(0, b""), Verdict::Ok),
            (Call::Other, grpc(7, b""), Verdict::Failed),
            (Call::Unary, http(200, json), Verdict::Failed),
            (Call::Unary, http(503, ""), Verdict::Refused),
            (Call::Rest, http(429, ""), Verdict::Refused),
            (Call::Rest, http(500, ""), Verdict::Failed),
            (Call::Rest, http(503, ""), Verdict::Refused),
            (Call::Rest, http(504, ""), Verdict::Late),
            (Call::Stream, Ending::Message(whole[5..].into()), Verdict::Ok),
            (Call::Stream, Ending::Message([&whole[5..], b"\x1a\x02a1"].concat()), Verdict::Ok),
            (Call::Stream, Ending::Message([&whole[5..], b"\x1a\x02a1\x12\0"].concat()), Verdict::Failed),
            (Call::Stream, Ending::Message(b"\x12\x02\x08\x0e".into()), Verdict::Refused),
            (Call::Stream, Ending::Message(b"\x12\x82\x01\x08\x0d".into()), Verdict::Failed),
            (Call::Stream, Ending::Message(b"\x0a\x02\x08\x0e".into()), Verdict::Failed),
            (Call::Unary, Ending::Reset(error::REFUSED_STREAM), Verdict::Refused),
            (Call::Unary, Ending::Reset(error::CANCEL), Verdict::Failed),
            (Call::Unary, Ending::Lost("the connection was closed".into()), Verdict::Failed),
            (Call::Unary, Ending::Expired, Verdict::Late),
            (Call::Unary, Ending::Unsent, Verdict::Missed),
        ] {
            assert_eq!(judge(call, &ending), verdict, "{ending:?}");
        }
    }
}
