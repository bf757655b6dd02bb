//! What is sent to a caller, as far as it takes it. What waits until it does, and is long, has room in memory
//! (`bounds/rooms.rs`); where there is none, or where nothing is taken for long, the call ends: else answers that nobody
//! reads would fill the memory.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use tokio::time::{Sleep, sleep};

use crate::bounds::Held;
use crate::calls::service::Service;
use crate::grpc::Gone;
use crate::peers::Origin;

/// So much of a stream needs no room of its own, beside what h2 has of it.
const SHORT_BYTES: usize = 128 * 1024;

/// What is to be sent on a stream.
pub struct Outgoing<'a> {
    left: BytesMut,
    held: Option<Held>,
    /// When the caller has to have taken some of it.
    until: Option<Pin<Box<Sleep>>>,
    origin: Option<IpAddr>,
    /// Whether all that waits is like what is long: it waits for callers who have filled the gateway's memory, too.
    all_long: bool,
    service: &'a Service,
}

impl<'a> Outgoing<'a> {
    pub fn new(origin: Option<IpAddr>, all_long: bool, service: &'a Service) -> Self {
        Self { left: BytesMut::new(), held: None, until: None, origin, all_long, service }
    }

    /// Have this sent behind all else.
    pub fn push(&mut self, data: Bytes) {
        if self.left.is_empty() {
            self.left = data.into();
        } else {
            self.left.extend_from_slice(&data);
        }
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Send what the caller has room for; ready when nothing is left.
    pub fn poll(&mut self, sending: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.left.is_empty() {
            sending.reserve_capacity(self.left.len());
            let room = sending.capacity().min(self.left.len());
            if room > 0 {
                sending.send_data(self.left.split_to(room).freeze(), false)?;
                self.until = None;
                continue;
            }
            match sending.poll_capacity(context) {
                Poll::Pending if self.may_wait(context) => return Poll::Pending,
                Poll::Pending => {
                    sending.send_reset(Reason::ENHANCE_YOUR_CALM);
                    return Poll::Ready(Err(Gone));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(Err(Gone)),
            }
        }
        self.held = None;
        Poll::Ready(Ok(()))
    }

    /// Whether the caller may take the rest later.
    fn may_wait(&mut self, context: &mut Context<'_>) -> bool {
        if self.held.is_none() && self.left.len() <= SHORT_BYTES && !self.all_long {
            return true;
        }
        let held = self.held.get_or_insert_with(|| self.service.unsent.hold(None, self.origin));
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(self.service.standstill)));
        held.try_widen(self.left.len()) && until.as_mut().poll(context).is_pending()
    }
}

/// Send all of it; `last`: nothing follows.
pub async fn send_all(
    mut data: Bytes,
    last: bool,
    sending: &mut SendStream<Bytes>,
    origin: &Origin,
    service: &Service,
) -> Result<(), Gone> {
    if data.len() > SHORT_BYTES {
        let mut outgoing = Outgoing::new(origin.address(), false, service);
        outgoing.push(std::mem::take(&mut data));
        poll_fn(|context| outgoing.poll(sending, context)).await?;
    }
    if last || !data.is_empty() {
        // Who reads slowly has this waiting.
        sending.send_data(data, last)?;
    }
    Ok(())
}
