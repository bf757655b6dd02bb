//! Sends the response of a unary call, in the format that its caller expects.

use std::future::poll_fn;

use h2::server::SendResponse;
use tokio::sync::oneshot;

use crate::bounds::Piece;
use crate::calls::outgoing::send_all;
use crate::calls::rest::{self, Reply};
use crate::calls::service::Shared;
use crate::grpc::{Gone, end, fail, start};
use crate::handover::{Answer, CallId, Event, Listener, Wait};
use crate::peers::Origin;

/// The caller of a unary call.
pub struct Caller<'a> {
    pub respond: SendResponse<Piece>,
    /// None for a gRPC response.
    pub json: Option<Reply<'a>>,
    pub origin: Origin,
    pub shared: &'a Shared,
}

impl Caller<'_> {
    /// Reports an event to Python in place of a call, and sends the failure with which Python answers.
    pub async fn tell(&mut self, event: impl FnOnce(CallId) -> Event) {
        let (answer, answered) = oneshot::channel();
        let id = self.shared.service.answers.listen(Listener::Unary(answer));
        self.shared.service.arrivals.add_event(event(id));
        self.finish(id, Wait::Express, answered).await;
    }

    /// Waits for Python's answer and sends it; or, if the caller cancels, withdraws the call.
    pub async fn finish(&mut self, id: CallId, wait: Wait, answered: oneshot::Receiver<Answer>) {
        tokio::select! {
            biased;
            answer = answered => {
                // Sending fails only if the caller has gone. If Python dropped the call without an answer, the stream
                // is reset.
                if let Ok(answer) = answer {
                    let _ = self.send(answer).await;
                }
            }
            _ = poll_fn(|context| self.respond.poll_reset(context)) => {
                self.shared.give_up();
                let service = &self.shared.service;
                if service.answers.forget(id) && !service.arrivals.forget(id, wait) {
                    service.arrivals.add_event(Event::Gone { id });
                }
            }
        }
    }

    /// Sends an answer.
    pub async fn send(&mut self, answer: Answer) -> Result<(), Gone> {
        let (respond, shared) = (&mut self.respond, self.shared);
        match (answer, &self.json) {
            (answer, Some(reply)) => rest::send(reply, answer, respond, &self.origin, shared).await,
            (Answer::Message(message), None) => {
                let mut sending = start(respond)?;
                send_all(message, false, &mut sending, &self.origin, shared).await?;
                end(&mut sending)
            }
            (Answer::Failure(failure), None) => fail(respond, failure.trailers.clone()),
        }
    }
}
