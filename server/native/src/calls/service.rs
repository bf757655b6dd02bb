//! State that calls share: all calls of the host, and those of one connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;

use crate::bounds::{BackgroundThread, DecompressionLimit, MemoryBudget, MemoryBudgets, Reservation};
use crate::calls::outgoing::SendBuffer;
use crate::calls::request_ids::RequestIds;
use crate::grpc::{Flaw, Packed, Patience};
use crate::handover::{Answers, Arrivals, Failure, Refusals, Tokens};
use crate::json::{Reader, Writer};

/// What all calls of the host share: the methods, the limits, and the queues to and from Python.
pub struct Service {
    /// The methods, by path.
    pub methods: HashMap<String, Method>,
    /// JSON forms of the methods that can be called with JSON, by method number.
    pub json_forms: HashMap<usize, JsonForm>,
    /// The methods that can be called with JSON, by their REST paths.
    pub rest_methods: HashMap<String, Method>,
    pub request_ids: RequestIds,
    pub message_limit_bytes: usize,
    /// How many streams a caller's connection may have open.
    pub most_streams: u32,
    /// How many bytes of headers a caller's request may have.
    pub headers_bytes: u32,
    /// Maximum duration of a call.
    pub call_timeout_seconds: f64,
    pub patience: Patience,
    pub arrivals: Arrivals,
    pub answers: Answers,
    pub tokens: Mutex<Tokens>,
    pub refusals: Refusals,
    /// Memory budgets for requests.
    pub budgets: MemoryBudgets,
    /// Memory budgets for responses that callers have not accepted yet.
    pub unsent: MemoryBudgets,
    /// How long a caller may accept nothing of a long response.
    pub standstill: Duration,
    /// Rate limit on decompression for unknown callers.
    pub decompression: DecompressionLimit,
    /// Processes long bodies.
    pub background: BackgroundThread,
}

impl Service {
    /// Decompresses a message once `bytes` are reserved for it; None if the stream has ended. For callers that are not
    /// known, it is rate limited.
    pub async fn unpack(
        &self,
        message: Packed,
        bytes: usize,
        held: &mut Reservation,
        known: bool,
    ) -> Option<Result<Bytes, Flaw>> {
        let most = self.message_limit_bytes;
        if !known {
            self.decompression.acquire(most).await;
        }
        held.widen(bytes).await?;
        let unpacked = self.background.unpack(message).await?;
        if !known {
            self.decompression.refund(&unpacked, most);
        }
        Some(unpacked)
    }
}

/// What the calls of one connection share.
pub struct Shared {
    pub service: Arc<Service>,
    /// The connection's memory budget for requests; None if it has none of its own.
    budget: Option<Arc<MemoryBudget>>,
    /// Maximum of the streams' adaptive flow control windows; None if they are not adaptive.
    pub window_bytes: Option<usize>,
    /// Limits how much of the responses is inside h2; None for the gateway's connections.
    pub send_buffer: Option<Arc<SendBuffer>>,
    given_up: AtomicU32,
}

impl Shared {
    /// `budget_bytes` is the connection's memory budget for requests, `window_bytes` the maximum of an adaptive window,
    /// `send_buffer_bytes` how much of the responses may be inside h2; None: no such limit.
    pub fn new(
        service: Arc<Service>,
        budget_bytes: Option<usize>,
        window_bytes: Option<usize>,
        send_buffer_bytes: Option<usize>,
    ) -> Self {
        Self {
            service,
            budget: budget_bytes.map(MemoryBudget::new),
            window_bytes,
            send_buffer: send_buffer_bytes.map(SendBuffer::new),
            given_up: AtomicU32::new(0),
        }
    }

    /// An empty memory reservation for a request of this connection, from this address.
    pub fn reserve_memory(&self, address: Option<IpAddr>) -> Reservation {
        self.service.budgets.hold(self.budget.as_ref(), address)
    }

    /// Counts a call that the caller has cancelled.
    pub fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls the caller has cancelled since the last time that this was asked.
    pub fn take_given_up(&self) -> u32 {
        self.given_up.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Service {
    /// A service without methods, for tests.
    pub fn without_methods() -> std::io::Result<Self> {
        Ok(Self {
            methods: HashMap::new(),
            json_forms: HashMap::new(),
            rest_methods: HashMap::new(),
            request_ids: RequestIds::default(),
            message_limit_bytes: 1024 * 1024,
            most_streams: 100,
            headers_bytes: 16 * 1024,
            call_timeout_seconds: 5.0,
            patience: Patience { share: 1.0, most: Duration::MAX },
            arrivals: Arrivals::new(1)?,
            answers: Answers::default(),
            tokens: Mutex::default(),
            refusals: Refusals::new(Vec::new()),
            budgets: MemoryBudgets::default(),
            unsent: MemoryBudgets::default(),
            standstill: Duration::MAX,
            decompression: DecompressionLimit::default(),
            background: BackgroundThread::start()?,
        })
    }
}

/// A method.
#[derive(Clone, Copy)]
pub struct Method {
    /// Index in the list of methods that Python passed.
    pub number: usize,
    pub kind: Kind,
}

/// How a method's calls are scheduled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unary; calls wait for capacity (admission).
    Queued,
    /// As `Queued`; calls of one caller are carried out together.
    Gathered,
    /// Unary; open to everyone, and not subject to admission.
    Express,
    Stream,
}

/// How a method's messages are read from and written as JSON.
pub struct JsonForm {
    /// Maximum size of a body.
    pub limit_bytes: usize,
    pub reader: Arc<Reader>,
    pub writer: Arc<Writer>,
    /// The response to a body that does not arrive in time.
    pub too_slow: Arc<Failure>,
    /// The response to other requests for this path on a port: with another HTTP method, or with parameters.
    pub elsewhere: Arc<Failure>,
    /// The response to calls without a credential on a port.
    pub no_credential: Arc<Failure>,
    /// Header of failures that is for the gateway alone.
    pub for_gateway: HeaderName,
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
                let bytes = message.decompression_bytes().unwrap_or(PREFIX_BYTES);
                if service.unpack(message, bytes, &mut service.budgets.hold(None, None), known).await.is_none() {
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
