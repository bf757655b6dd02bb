//! What is sent to a caller, as far as it takes it. What waits until it does has room in memory (`bounds/rooms.rs`), unless
//! it is little; where there is none, or where nothing of what is long is taken for long, the call ends: else answers that
//! nobody reads would fill the memory.

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
const LITTLE_BYTES: usize = 16 * 1024;
/// So much may wait for as long as its caller likes.
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
    /// Whether so much has waited, until all is sent.
    long: bool,
    service: &'a Service,
}

impl<'a> Outgoing<'a> {
    pub fn new(origin: Option<IpAddr>, all_long: bool, service: &'a Service) -> Self {
        Self { left: BytesMut::new(), held: None, until: None, origin, all_long, long: false, service }
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
        (self.held, self.long) = (None, false);
        Poll::Ready(Ok(()))
    }

    /// Whether the caller may take the rest later.
    fn may_wait(&mut self, context: &mut Context<'_>) -> bool {
        let left = self.left.len();
        self.long |= left > SHORT_BYTES || self.all_long;
        if !self.long && left <= LITTLE_BYTES {
            return true;
        }
        let held = self.held.get_or_insert_with(|| self.service.unsent.hold(None, self.origin));
        if !held.try_widen(left) {
            return false;
        }
        if !self.long {
            return true;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(self.service.standstill)));
        until.as_mut().poll(context).is_pending()
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
    if data.len() > LITTLE_BYTES && !takes(sending, data.len()) {
        let mut outgoing = Outgoing::new(origin.address(), false, service);
        outgoing.push(std::mem::take(&mut data));
        poll_fn(|context| outgoing.poll(sending, context)).await?;
    }
    if last || !data.is_empty() {
        // Who reads slowly has this waiting, where it is little.
        sending.send_data(data, last)?;
    }
    Ok(())
}

/// Whether the caller has room for so many bytes at once.
fn takes(sending: &mut SendStream<Bytes>, bytes: usize) -> bool {
    sending.reserve_capacity(bytes);
    sending.capacity() >= bytes
}
