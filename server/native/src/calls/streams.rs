//! Streaming calls: messages in both directions, with flow control.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::SendStream;
use h2::server::SendResponse;
use tokio::sync::mpsc;

use crate::bounds::Reservation;
use crate::calls::incoming::{Incoming, Trouble};
use crate::calls::outgoing::{Gone, Outgoing, Piece, end, fail, start};
use crate::calls::service::{Method, Service, Shared};
use crate::grpc::{Flaw, Metadata};
use crate::handover::{CallId, Event, Failure, Listener, Order};

/// How many messages may be handed over that Python has not read; beyond that the stream is not read, and HTTP/2 flow
/// control holds the sender back.
const MOST_UNREAD: usize = 32;
/// The same limit in bytes; a single message may exceed it.
const MOST_UNREAD_BYTES: usize = 256 * 1024;

/// Serves a call of a streaming method.
pub async fn serve(
    method: Method,
    metadata: Box<Metadata>,
    incoming: Incoming,
    respond: SendResponse<Piece>,
    shared: Arc<Shared>,
) {
    let service = &*shared.service;
    let (order, orders) = mpsc::unbounded_channel();
    let outgoing = Outgoing::new(incoming.origin(), metadata.by_gateway, &shared);
    let id = service.answers.listen(Listener::Stream(order));
    service.arrivals.add_event(Event::Opened { id, method: method.number, metadata });
    let mut stream = Stream {
        id,
        service,
        orders,
        incoming: Some(incoming),
        unread: VecDeque::new(),
        unread_bytes: 0,
        respond,
        sending: None,
        outgoing,
        asked: false,
        ending: None,
    };
    let ended = poll_fn(|context| stream.poll(context)).await;
    if ended.is_err() {
        shared.give_up();
        if service.answers.forget(id) {
            service.arrivals.add_event(Event::Gone { id });
        }
    }
}

enum Ending {
    Good,
    Bad(Arc<Failure>),
}

struct Stream<'a> {
    id: CallId,
    service: &'a Service,
    orders: mpsc::UnboundedReceiver<Order>,
    /// None when everything has arrived.
    incoming: Option<Incoming>,
    /// Size and memory reservation of each message that Python has not read yet.
    unread: VecDeque<(usize, Option<Reservation>)>,
    unread_bytes: usize,
    respond: SendResponse<Piece>,
    /// None until the response has begun.
    sending: Option<SendStream<Piece>>,
    outgoing: Outgoing<'a>,
    /// Whether Python waits for everything to be sent.
    asked: bool,
    ending: Option<Ending>,
}

impl Stream<'_> {
    /// Makes as much progress as possible; ready when the stream has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while let Poll::Ready(Some(order)) = self.orders.poll_recv(context) {
            self.obey(order);
        }
        self.read(context)?;
        let written = self.write(context)?;
        if written.is_ready() && self.ending.is_some() {
            return Poll::Ready(self.end());
        }
        let left = match &mut self.sending {
            Some(sending) => sending.poll_reset(context),
            None => self.respond.poll_reset(context),
        };
        if left.is_ready() { Poll::Ready(Err(Gone)) } else { Poll::Pending }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Send { message, asked } => {
                self.outgoing.push(message);
                self.asked |= asked;
            }
            Order::Read => {
                self.unread_bytes -= self.unread.pop_front().map_or(0, |(bytes, _)| bytes);
                if let Some(incoming) = &mut self.incoming {
                    incoming.trust();
                }
            }
            Order::End => self.finish(Ending::Good),
            Order::Fail(failure) => self.finish(Ending::Bad(failure)),
        }
    }

    /// Ends the incoming half: Python reads no more, so memory reservations are released at once, however slowly the
    /// caller reads the rest.
    fn finish(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.incoming = None;
        self.unread.clear();
    }

    /// Hands messages over to Python, up to the limits.
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), Gone> {
        while let Some(incoming) = &mut self.incoming {
            if self.unread.len() >= MOST_UNREAD || self.unread_bytes >= MOST_UNREAD_BYTES {
                break;
            }
            match incoming.poll_next(self.unread_bytes, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(Some((message, held)))) => {
                    self.unread.push_back((message.len(), held));
                    self.unread_bytes += message.len();
                    self.service.arrivals.add_event(Event::Message { id: self.id, message });
                }
                Poll::Ready(Ok(None)) => self.half_close(None),
                Poll::Ready(Err(Trouble::Flaw(flaw))) => self.half_close(Some(flaw)),
                Poll::Ready(Err(Trouble::Gone)) => return Err(Gone),
            }
        }
        Ok(())
    }

    fn half_close(&mut self, flaw: Option<Flaw>) {
        self.incoming = None;
        self.service.arrivals.add_event(Event::HalfClosed { id: self.id, flaw });
    }

    /// Sends as much as the caller accepts; ready when nothing is left.
    fn write(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Gone> {
        if !self.outgoing.is_empty() {
            let sending = match &mut self.sending {
                Some(sending) => sending,
                None => self.sending.insert(start(&mut self.respond)?),
            };
            if self.outgoing.poll(sending, context)?.is_pending() {
                return Ok(Poll::Pending);
            }
        }
        if std::mem::take(&mut self.asked) {
            self.service.arrivals.add_event(Event::Sent { id: self.id });
        }
        Ok(Poll::Ready(()))
    }

    fn end(&mut self) -> Result<(), Gone> {
        match (self.ending.take(), &mut self.sending) {
            (Some(Ending::Bad(failure)), None) => fail(&mut self.respond, failure.trailers.clone()),
            (Some(Ending::Bad(failure)), Some(sending)) => Ok(sending.send_trailers(failure.trailers.clone())?),
            (_, Some(sending)) => end(sending),
            (_, None) => end(&mut start(&mut self.respond)?),
        }
    }
}
