#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::*;
use crate::grpc::{Metadata, Peer};
use crate::handover::answers::{Answer, Listener};
use crate::handover::arrivals::Wait;

const HOUR: Duration = Duration::from_secs(3600);

fn spent(until: Instant) -> Spent {
    let (trailers, headers) = (HeaderMap::new(), HeaderMap::new());
    let failure = Failure { trailers, status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
    Spent { quota: "posts".into(), until, failure: Arc::new(failure) }
}

#[test]
fn calls_of_members_with_spent_quotas_are_refused() {
    let (refusals, answers, arrivals) = (Refusals::new(Vec::new()), Answers::default(), Arrivals::new(10).unwrap());
    let now = Instant::now();
    let (answer, mut answered) = oneshot::channel();
    let call = UnaryCall {
        id: answers.listen(Listener::Unary(answer)),
        method: 3,
        metadata: Metadata::read(&HeaderMap::new(), &Peer::Gateway),
        message: Ok(Bytes::new()),
        reader: None,
        known: true,
        gathered: true,
    };
    assert!(arrivals.add_call(call, Wait::Queued(Some(8), now + HOUR)).is_none());
    assert!(refusals.of_spent(3, now, || unreachable!()).is_none());

    refusals.spend(3, 8, spent(now + HOUR), &arrivals, &answers);
    assert!(matches!(answered.try_recv(), Ok(Answer::Failure(failure)) if failure.status.as_u16() == 429));
    assert!(refusals.of_spent(3, now, || Some(8)).is_some());
    for (method, member) in [(3, Some(9)), (4, Some(8)), (3, None)] {
        assert!(refusals.of_spent(method, now, || member).is_none());
    }
    assert!(refusals.of_spent(3, now + HOUR, || Some(8)).is_none());
    assert_eq!(refusals.take(), HashMap::from([((3, Some(8), Why::Spent("posts".into())), 2)]));
}

#[test]
fn windows_that_have_ended_are_forgotten() {
    let (refusals, answers, arrivals) = (Refusals::new(Vec::new()), Answers::default(), Arrivals::new(10).unwrap());
    let now = Instant::now();
    for member in 0..3000 {
        refusals.spend(0, member, spent(now), &arrivals, &answers);
    }
    assert!(lock(&refusals.spent).len() <= MANY_SPENT);
}
