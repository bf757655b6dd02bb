//! What calls share, all of them and those of a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::bounds::{Aside, Held, Inflations, Room, Rooms, Unwritten};
use crate::calls::methods::{JsonForm, Method};
use crate::grpc::{Flaw, Packed, Patience};
use crate::handover::{Answers, Arrivals, Refusals, Tokens};

/// What they may be, and the way to Python and back.
pub struct Service {
    /// By path.
    pub methods: HashMap<String, Method>,
    /// The forms of the methods that can be called with JSON, by the methods' numbers.
    pub json_forms: HashMap<usize, JsonForm>,
    pub message_limit_bytes: usize,
    /// How many streams a caller's connection may have.
    pub most_streams: u32,
    /// How many bytes of headers a caller's request may have.
    pub headers_bytes: u32,
    /// How long a call may take, at most.
    pub call_timeout_seconds: f64,
    pub patience: Patience,
    pub arrivals: Arrivals,
    pub answers: Answers,
    pub tokens: Mutex<Tokens>,
    pub refusals: Refusals,
    /// What requests have that come in pieces.
    pub rooms: Rooms,
    /// What answers have that their callers have not taken.
    pub unsent: Rooms,
    /// For how long a caller may take nothing of one.
    pub standstill: Duration,
    /// What was decompressed for those who are not known.
    pub inflations: Inflations,
    /// Where long bodies are read.
    pub aside: Aside,
}

impl Service {
    /// A compressed message as it was before, once there is room for so many bytes; None where the stream is over. Unless
    /// its caller is known, it waits for its turn, and counts.
    pub async fn unpack(
        &self,
        message: Packed,
        bytes: usize,
        held: &mut Held,
        known: bool,
    ) -> Option<Result<Bytes, Flaw>> {
        let most = self.message_limit_bytes;
        if !known {
            self.inflations.turn(most).await;
        }
        held.widen(bytes).await?;
        let unpacked = self.aside.unpack(message).await?;
        if !known {
            self.inflations.note(&unpacked, most);
        }
        Some(unpacked)
    }
}

/// What the calls of a connection share.
pub struct Shared {
    pub service: Arc<Service>,
    /// What is left for requests that come in pieces, in bytes, where that is counted by connections.
    room: Option<Arc<Room>>,
    /// What a stream's window is at most, where it becomes smaller.
    pub window_bytes: Option<usize>,
    /// What is on its way of the answers to its caller; None: the gateway's, which takes all.
    pub unwritten: Option<Arc<Unwritten>>,
    given_up: AtomicU32,
}

impl Shared {
    /// What calls in pieces may have in memory, what a stream's window is at most, where it becomes smaller, and how much
    /// of answers may be on its way.
    pub fn new(
        service: Arc<Service>,
        room_bytes: Option<usize>,
        window_bytes: Option<usize>,
        unwritten_bytes: Option<usize>,
    ) -> Self {
        Self {
            service,
            room: room_bytes.map(Room::new),
            window_bytes,
            unwritten: unwritten_bytes.map(Unwritten::new),
            given_up: AtomicU32::new(0),
        }
    }

    /// Nothing yet, of the room for what one of them brings in pieces from this address.
    pub fn hold_room(&self, address: Option<IpAddr>) -> Held {
        self.service.rooms.hold(self.room.as_ref(), address)
    }

    /// The caller has given a call up.
    pub fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls it has given up since this was asked.
    pub fn take_given_up(&self) -> u32 {
        self.given_up.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Service {
    /// One that nobody has said anything of.
    pub fn without_methods() -> std::io::Result<Self> {
        Ok(Self {
            methods: HashMap::new(),
            json_forms: HashMap::new(),
            message_limit_bytes: 1024 * 1024,
            most_streams: 100,
            headers_bytes: 16 * 1024,
            call_timeout_seconds: 5.0,
            patience: Patience { share: 1.0, most: Duration::MAX },
            arrivals: Arrivals::new(1)?,
            answers: Answers::default(),
            tokens: Mutex::default(),
            refusals: Refusals::new(Vec::new()),
            rooms: Rooms::default(),
            unsent: Rooms::default(),
            standstill: Duration::MAX,
            inflations: Inflations::default(),
            aside: Aside::start()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use flate2::{Compression, write::GzEncoder};
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;
    use crate::grpc::{Encoding, Messages, PREFIX_BYTES};

    /// Whether so many messages of this kind are decompressed in so long a time.
    async fn decompresses(service: &Service, data: &[u8], count: usize, known: bool, milliseconds: u64) -> bool {
        let all = async {
            for _ in 0..count {
                let mut messages = Messages::new(Encoding::Gzip, service.message_limit_bytes);
                let [.., high, middle, low] = data.len().to_be_bytes();
                messages.push(&[[1, 0, high, middle, low].as_slice(), data].concat());
                let Ok(Some(message)) = messages.next() else { return false };
                let bytes = message.inflating().unwrap_or(PREFIX_BYTES);
                if service.unpack(message, bytes, &mut service.rooms.hold(None, None), known).await.is_none() {
                    return false;
                }
            }
            true
        };
        timeout(Duration::from_millis(milliseconds), all).await.unwrap_or(false)
    }

    #[test]
    fn what_strangers_have_decompressed_counts_by_what_it_becomes() -> io::Result<()> {
        let (service, mut short) = (Service::without_methods()?, GzEncoder::new(Vec::new(), Compression::fast()));
        short.write_all(b"short")?;
        let short = short.finish()?;
        // Nobody knows what it would have become.
        let broken = [0; 20];
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            assert!(decompresses(&service, &short, 2000, false, 20_000).await);
            assert!(decompresses(&service, &broken, 2000, true, 20_000).await);
            assert!(!decompresses(&service, &broken, 100, false, 100).await);
        });
        Ok(())
    }
}
