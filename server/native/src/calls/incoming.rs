//! What comes on a stream: messages, one after the other. A long one has room in memory (`bounds/rooms.rs`) before it is
//! read on, or decompressed, and has to be whole in time: else streams of messages that do not end would fill the memory.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use tokio::time::{Sleep, sleep};

use crate::bounds::Held;
use crate::calls::service::Shared;
use crate::calls::window::Window;
use crate::grpc::{Encoding, Flaw, Messages, Packed};

/// How much of a message that is not whole needs no room of its own.
const SHORT_BYTES: usize = 16 * 1024;

/// A message, and what it holds of the room.
pub type Message = (Bytes, Option<Held>);

/// Why no more comes.
pub enum Trouble {
    Flaw(Flaw),
    /// The stream is over.
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

/// A message that has been decompressed, and what it holds; None where the stream is over.
type Unpacked = Option<(Result<Bytes, Flaw>, Held)>;

/// What the message has of the room that is coming.
enum Room {
    /// Nothing: it is short, as far as it has come.
    None,
    /// The message waits for room; until then nothing is read.
    Waits(Pin<Box<dyn Future<Output = Option<Held>> + Send>>),
    Has(Held),
    /// The message is being decompressed.
    Unpacks(Pin<Box<dyn Future<Output = Unpacked> + Send>>),
}

/// The messages of a stream.
pub struct Incoming {
    body: RecvStream,
    messages: Messages,
    /// None where it always opens by what is read.
    window: Option<Window>,
    /// What came last, and is being read.
    coming_bytes: usize,
    room: Room,
    /// Whether what is decompressed for it counts no more.
    trusted: bool,
    /// When the message has to be whole, where we wait for it.
    until: Option<Pin<Box<Sleep>>>,
    origin: Option<IpAddr>,
    shared: Arc<Shared>,
}

impl Incoming {
    pub fn new(body: RecvStream, encoding: Encoding, origin: Option<IpAddr>, shared: Arc<Shared>) -> Self {
        let messages = Messages::new(encoding, shared.service.message_limit_bytes);
        let window = shared.window_bytes.map(|most| Window::new(most, Instant::now()));
        Self { body, messages, window, coming_bytes: 0, room: Room::None, trusted: false, until: None, origin, shared }
    }

    /// The next message; None at the end. Of those before, Python has so many bytes still to read.
    pub fn poll_next(
        &mut self,
        unread_bytes: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Trouble>> {
        loop {
            match &mut self.room {
                Room::Waits(holding) => match holding.as_mut().poll(context) {
                    Poll::Pending => return self.wait(context),
                    Poll::Ready(held) => self.room = Room::Has(held.ok_or(Trouble::Gone)?),
                },
                Room::Unpacks(unpacking) => match unpacking.as_mut().poll(context) {
                    Poll::Pending => return self.wait(context),
                    Poll::Ready(unpacked) => {
                        let (message, held) = unpacked.ok_or(Trouble::Gone)?;
                        self.room = Room::Has(held);
                        return Poll::Ready(Ok(Some(self.whole(message?))));
                    }
                },
                Room::None | Room::Has(_) => {}
            }
            if let Some(message) = self.messages.next()? {
                let Some(bytes) = message.inflating() else {
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

    /// Where it comes from.
    pub fn origin(&self) -> Option<IpAddr> {
        self.origin
    }

    /// Python reads what comes: it knows whose stream this is.
    pub fn trust(&mut self) {
        self.trusted = true;
    }

    /// All messages that have come are handed over: the caller may send more.
    fn open_window(&mut self, unread_bytes: usize) -> Result<(), h2::Error> {
        let came = std::mem::take(&mut self.coming_bytes);
        let opened = match &mut self.window {
            None => came,
            Some(window) => {
                let unread = unread_bytes + self.messages.begun_bytes();
                window.open(came, unread, self.messages.missing_bytes(), Instant::now())
            }
        };
        // Of nothing, too: what was little beside what was still open, the caller is told now if that is used up.
        self.body.flow_control().release_capacity(opened)
    }

    /// Ask for room for what has come of a message, and for the rest of it; whether it has to wait for that.
    fn hold(&mut self) -> bool {
        let begun = self.messages.begun_bytes();
        if begun <= SHORT_BYTES || matches!(&self.room, Room::Has(held) if held.counted() >= begun) {
            return false;
        }
        let mut held = self.held();
        let announced = self.messages.announced().unwrap_or(begun);
        self.room = Room::Waits(Box::pin(async move {
            held.reserve(announced).await?;
            held.count(begun - held.counted()).await?;
            Some(held)
        }));
        true
    }

    /// Decompress a message, once there is room for so many bytes.
    fn unpack(&mut self, message: Packed, bytes: usize) {
        let mut held = self.held();
        let (service, trusted) = (Arc::clone(&self.shared.service), self.trusted);
        self.room = Room::Unpacks(Box::pin(async move {
            let unpacked = service.unpack(message, bytes, &mut held, trusted).await?;
            Some((unpacked, held))
        }));
    }

    /// A message, and what it holds of the room from now on.
    fn whole(&mut self, message: Bytes) -> Message {
        self.until = None;
        let held = match std::mem::replace(&mut self.room, Room::None) {
            Room::Has(mut held) => {
                held.shrink(message.len());
                Some(held)
            }
            _ => None,
        };
        (message, held)
    }

    /// What the message has of the room, or a beginning.
    fn held(&mut self) -> Held {
        match std::mem::replace(&mut self.room, Room::None) {
            Room::Has(held) => held,
            _ => self.shared.hold_room(self.origin),
        }
    }

    /// Wait for more, where there is time for it.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Trouble>> {
        if matches!(self.room, Room::None) {
            return Poll::Pending;
        }
        let time = Duration::try_from_secs_f64(self.shared.service.call_timeout_seconds).unwrap_or(Duration::MAX);
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(time)));
        until.as_mut().poll(context).map(|()| Err(Flaw::NotReceived.into()))
    }
}
