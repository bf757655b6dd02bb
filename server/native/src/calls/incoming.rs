//! The incoming half of a stream, message by message. A long message reserves memory (`bounds/memory_budget.rs`) before
//! it is read on or decompressed, and has to arrive within the call timeout; otherwise streams with unfinished messages
//! would fill the memory.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use tokio::time::{Sleep, sleep};

use crate::bounds::Reservation;
use crate::calls::service::Shared;
use crate::calls::window::Window;
use crate::grpc::{Encoding, Flaw, Messages, Packed};

/// How many bytes of an unfinished message need no reservation.
const SHORT_BYTES: usize = 16 * 1024;

/// A message, and its memory reservation.
pub type Message = (Bytes, Option<Reservation>);

/// Why there are no further messages.
pub enum Trouble {
    Flaw(Flaw),
    /// The stream has ended abnormally.
    Gone,
}

impl From<Flaw> for Trouble {
    fn from(flaw: Flaw) -> Self {
        Trouble::Flaw(flaw)
    }
}

impl From<h2::Error> for Trouble {
    fn from(_: h2::Error) -> Self {
        Trouble::Gone
    }
}

/// A decompressed message and its reservation; None if the stream has ended.
type Unpacked = Option<(Result<Bytes, Flaw>, Reservation)>;

/// The memory reservation of the message that is arriving.
enum Memory {
    /// None: what has arrived of it is short.
    None,
    /// Waiting for the reservation; nothing is read meanwhile.
    Waits(Pin<Box<dyn Future<Output = Option<Reservation>> + Send>>),
    Has(Reservation),
    /// Decompressing the message.
    Unpacks(Pin<Box<dyn Future<Output = Unpacked> + Send>>),
}

/// The messages of a stream.
pub struct Incoming {
    body: RecvStream,
    messages: Messages,
    /// The stream's adaptive flow control window; None if it is reopened by as much as is read.
    window: Option<Window>,
    /// Size of the last chunk, for which the window has not been reopened yet.
    coming_bytes: usize,
    memory: Memory,
    /// Whether the caller is known, so that decompression is not rate limited.
    trusted: bool,
    /// When the message that is waited for must be complete.
    until: Option<Pin<Box<Sleep>>>,
    origin: Option<IpAddr>,
    shared: Arc<Shared>,
}

impl Incoming {
    pub fn new(body: RecvStream, encoding: Encoding, origin: Option<IpAddr>, shared: Arc<Shared>) -> Self {
        let messages = Messages::new(encoding, shared.service.message_limit_bytes);
        let window = shared.window_bytes.map(|most| Window::new(most, Instant::now()));
        Self {
            body,
            messages,
            window,
            coming_bytes: 0,
            memory: Memory::None,
            trusted: false,
            until: None,
            origin,
            shared,
        }
    }

    /// The next message; None at the end of the stream. Python has not read `unread_bytes` of the earlier ones.
    pub fn poll_next(
        &mut self,
        unread_bytes: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Trouble>> {
        loop {
            match &mut self.memory {
                Memory::Waits(holding) => match holding.as_mut().poll(context) {
                    Poll::Pending => return self.wait(context),
                    Poll::Ready(held) => self.memory = Memory::Has(held.ok_or(Trouble::Gone)?),
                },
                Memory::Unpacks(unpacking) => match unpacking.as_mut().poll(context) {
                    Poll::Pending => return self.wait(context),
                    Poll::Ready(unpacked) => {
                        let (message, held) = unpacked.ok_or(Trouble::Gone)?;
                        self.memory = Memory::Has(held);
                        return Poll::Ready(Ok(Some(self.whole(message?))));
                    }
                },
                Memory::None | Memory::Has(_) => {}
            }
            if let Some(message) = self.messages.next()? {
                let Some(bytes) = message.decompression_bytes() else {
                    return Poll::Ready(Ok(Some(self.whole(message.unpack(usize::MAX)?))));
                };
                self.unpack(message, bytes);
                continue;
            }
            if self.hold() {
                continue;
            }
            self.open_window(unread_bytes)?;
            match self.body.poll_data(context) {
                Poll::Pending => {
                    if let (0, Some(window)) = (unread_bytes, &mut self.window) {
                        window.wait(Instant::now());
                    }
                    return self.wait(context);
                }
                Poll::Ready(Some(data)) => {
                    let data = data?;
                    self.coming_bytes = data.len();
                    self.messages.push(&data);
                }
                Poll::Ready(None) => {
                    self.messages.finish()?;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    /// The caller's address.
    pub fn origin(&self) -> Option<IpAddr> {
        self.origin
    }

    /// Lifts the rate limit on decompression. Called once Python reads the stream: it has authenticated the caller by
    /// then.
    pub fn trust(&mut self) {
        self.trusted = true;
    }

    /// Lets the caller send more. Called when all complete messages have been handed over.
    fn open_window(&mut self, unread_bytes: usize) -> Result<(), h2::Error> {
        let came = std::mem::take(&mut self.coming_bytes);
        let opened = match &mut self.window {
            None => came,
            Some(window) => {
                let unread = unread_bytes + self.messages.begun_bytes();
                window.open(came, unread, self.messages.missing_bytes(), Instant::now())
            }
        };
        // Even by 0 bytes: h2 may have withheld an update that was small against what was still open, and sends it now
        // if that has been used up.
        self.body.flow_control().release_capacity(opened)
    }

    /// Starts to reserve memory for a long message, if it has none yet; returns whether to wait for it.
    fn hold(&mut self) -> bool {
        let begun = self.messages.begun_bytes();
        if begun <= SHORT_BYTES || matches!(&self.memory, Memory::Has(held) if held.counted() >= begun) {
            return false;
        }
        let mut held = self.held();
        let announced = self.messages.announced().unwrap_or(begun);
        self.memory = Memory::Waits(Box::pin(async move {
            held.reserve(announced).await?;
            held.count(begun - held.counted()).await?;
            Some(held)
        }));
        true
    }

    /// Starts to decompress a message, once this many bytes are reserved.
    fn unpack(&mut self, message: Packed, bytes: usize) {
        let mut held = self.held();
        let (service, trusted) = (Arc::clone(&self.shared.service), self.trusted);
        self.memory = Memory::Unpacks(Box::pin(async move {
            let unpacked = service.unpack(message, bytes, &mut held, trusted).await?;
            Some((unpacked, held))
        }));
    }

    /// Completes a message: with its reservation, reduced to its size.
    fn whole(&mut self, message: Bytes) -> Message {
        self.until = None;
        let held = match std::mem::replace(&mut self.memory, Memory::None) {
            Memory::Has(mut held) => {
                held.shrink(message.len());
                Some(held)
            }
            _ => None,
        };
        (message, held)
    }

    /// Takes the message's reservation, or begins one.
    fn held(&mut self) -> Reservation {
        match std::mem::replace(&mut self.memory, Memory::None) {
            Memory::Has(held) => held,
            _ => self.shared.reserve_memory(self.origin),
        }
    }

    /// Waits for more data, at most until the message must be complete.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Trouble>> {
        if matches!(self.memory, Memory::None) {
            return Poll::Pending;
        }
        let time = Duration::try_from_secs_f64(self.shared.service.call_timeout_seconds).unwrap_or(Duration::MAX);
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(time)));
        until.as_mut().poll(context).map(|()| Err(Flaw::NotReceived.into()))
    }
}
