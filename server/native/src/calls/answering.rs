//! How a unary call is answered: with what Python says, in the form that its caller has.

use std::future::poll_fn;

use h2::server::SendResponse;
use tokio::sync::oneshot;

use crate::bounds::Piece;
use crate::calls::methods::JsonForm;
use crate::calls::outgoing::send_all;
use crate::calls::rest;
use crate::calls::service::Shared;
use crate::grpc::{Gone, end, fail, start};
use crate::handover::{Answer, CallId, Event, Listener, Wait};
use crate::peers::Origin;

/// Who waits for an answer.
pub struct Caller<'a> {
    pub respond: SendResponse<Piece>,
    /// The form of the answer, where it is JSON.
    pub json: Option<&'a JsonForm>,
    pub origin: Origin,
    pub shared: &'a Shared,
}

impl Caller<'_> {
    /// Tell Python why there is no call, for its words.
    pub async fn tell(&mut self, event: impl FnOnce(CallId) -> Event) {
        let (answer, answered) = oneshot::channel();
        let id = self.shared.service.answers.listen(Listener::Unary(answer));
        self.shared.service.arrivals.add_event(event(id));
        self.finish(id, Wait::Express, answered).await;
    }

    /// Wait for the answer and send it, or tell Python that nobody waits for it.
    pub async fn finish(&mut self, id: CallId, wait: Wait, answered: oneshot::Receiver<Answer>) {
        tokio::select! {
            biased;
            answer = answered => {
                // Where it cannot be sent, nobody waits for it. Where Python has none, the stream is reset.
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

    async fn send(&mut self, answer: Answer) -> Result<(), Gone> {
        let (respond, shared) = (&mut self.respond, self.shared);
        match (answer, self.json) {
            (answer, Some(json)) => rest::send(json, answer, respond, &self.origin, shared).await,
            (Answer::Message(message), None) => {
                let mut sending = start(respond)?;
                send_all(message, false, &mut sending, &self.origin, shared).await?;
                end(&mut sending)
            }
            (Answer::Failure(failure), None) => fail(respond, failure.trailers.clone()),
        }
    }
}
