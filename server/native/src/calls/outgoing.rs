//! The outgoing half of a call, sent as fast as the caller reads. Unless it is small, what waits counts against a
//! memory budget (`bounds/memory_budget.rs`). The call ends when that is exhausted or when the caller accepts nothing
//! of a long response for too long; otherwise responses that nobody reads would fill the memory.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Sleep, sleep};

use crate::bounds::Reservation;
use crate::calls::service::{Service, Shared};

use crate::grpc::Origin;
use crate::locks::lock;

/// How many bytes of a stream may wait without a reservation, beside what is inside h2 for its connection.
const LITTLE_BYTES: usize = 1024;
/// How many bytes may wait for as long as the caller likes.
const SHORT_BYTES: usize = 128 * 1024;

/// The data that waits to be sent on a stream.
pub struct Outgoing<'a> {
    left: BytesMut,
    held: Option<Reservation>,
    /// When the caller must have accepted some of it.
    until: Option<Pin<Box<Sleep>>>,
    origin: Option<IpAddr>,
    /// Whether the time limit of long data applies to all that waits: callers behind the gateway fill the gateway's
    /// memory, too.
    all_long: bool,
    /// Whether the time limit applies, until everything is sent.
    long: bool,
    /// The stream's access to the send buffer of its connection; None for the gateway's connections, which are not
    /// limited.
    sender: Option<StreamSender>,
    service: &'a Service,
}

impl<'a> Outgoing<'a> {
    pub fn new(origin: Option<IpAddr>, all_long: bool, shared: &'a Shared) -> Self {
        let (sender, service) = (shared.send_buffer.as_ref().map(SendBuffer::sender), &*shared.service);
        Self { left: BytesMut::new(), held: None, until: None, origin, all_long, long: false, sender, service }
    }

    /// Queues data behind what waits already.
    pub fn push(&mut self, data: Bytes) {
        if self.left.is_empty() {
            self.left = data.into();
        } else {
            self.left.extend_from_slice(&data);
        }
    }

    /// Whether everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Sends as much as the caller accepts; ready when nothing is left.
    pub fn poll(&mut self, sending: &mut SendStream<Piece>, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.left.is_empty() {
            sending.reserve_capacity(self.left.len());
            let sendable = sending.capacity().min(self.left.len());
            if sendable > 0 && self.sender.as_ref().is_none_or(|sender| sender.has_capacity(context)) {
                let data = self.left.split_to(sendable).freeze();
                let piece = match &mut self.sender {
                    Some(sender) => sender.count(data),
                    None => data.into(),
                };
                sending.send_data(piece, false)?;
                self.until = None;
                continue;
            }
            let more =
                if sendable > 0 { sending.poll_reset(context).map(|_| None) } else { sending.poll_capacity(context) };
            match more {
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

    /// Whether the rest may wait: there is memory for it, and the time limit has not passed.
    fn may_wait(&mut self, context: &mut Context<'_>) -> bool {
        let left = self.left.len();
        self.long |= left > SHORT_BYTES || self.all_long;
        if !self.long && left <= LITTLE_BYTES {
            return true;
        }
        let held = self.held.get_or_insert_with(|| self.service.unsent.hold(None, self.origin));
        // Reserves the buffer's capacity, not its length: a buffer that grew piece by piece is larger than its content.
        if !held.try_widen(self.left.capacity()) {
            return false;
        }
        if !self.long {
            return true;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(self.service.standstill)));
        until.as_mut().poll(context).is_pending()
    }
}

/// Sends all of `data`; if `last`, ends the stream.
pub async fn send_all(
    mut data: Bytes,
    last: bool,
    sending: &mut SendStream<Piece>,
    origin: &Origin,
    shared: &Shared,
) -> Result<(), Gone> {
    if data.len() > LITTLE_BYTES {
        let mut outgoing = Outgoing::new(origin.address(), false, shared);
        outgoing.push(std::mem::take(&mut data));
        poll_fn(|context| outgoing.poll(sending, context)).await?;
    }
    if last || !data.is_empty() {
        // A small rest is left to h2, which keeps it for callers that read slowly.
        sending.send_data(data.into(), last)?;
    }
    Ok(())
}

/// Content type of gRPC requests and responses.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, identity");

/// The call is over: nobody waits for its response.
pub struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Gone
    }
}

/// Starts a response.
pub fn start(respond: &mut SendResponse<Piece>) -> Result<SendStream<Piece>, Gone> {
    Ok(respond.send_response(response(HeaderMap::with_capacity(2)), false)?)
}

/// Ends a response successfully, with status OK.
pub fn end(sending: &mut SendStream<Piece>) -> Result<(), Gone> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    Ok(sending.send_trailers(trailers)?)
}

/// Responds with a failure only (gRPC's "Trailers-Only").
pub fn fail(respond: &mut SendResponse<Piece>, trailers: HeaderMap) -> Result<(), Gone> {
    respond.send_response(response(trailers), true)?;
    Ok(())
}

fn response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, ENCODINGS);
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}

/// How many bytes of a connection's responses may be inside h2, neither held by their calls nor written to the socket.
/// Beyond the limit they wait in their calls, where they count against a budget; otherwise callers that read nothing
/// could have h2 buffer data for every stream.
pub struct SendBuffer {
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    next_place: u64,
    /// The streams that wait, by place.
    waiting: BTreeMap<u64, Waker>,
}

impl State {
    fn last_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

impl SendBuffer {
    /// Pieces are accepted while fewer bytes than this are inside h2.
    pub fn new(most_bytes: usize) -> Arc<Self> {
        Arc::new(Self { most_bytes, state: Mutex::default() })
    }

    /// A sender for a new stream, behind those of all others.
    pub fn sender(self: &Arc<Self>) -> StreamSender {
        StreamSender { of: Arc::clone(self), number: lock(&self.state).last_place() }
    }

    fn forget(&self, bytes: usize) {
        let mut state = lock(&self.state);
        let was_full = state.bytes >= self.most_bytes;
        state.bytes -= bytes;
        if was_full && state.bytes < self.most_bytes {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_values().for_each(Waker::wake);
        }
    }
}

/// A stream in the order in which those of its connection may send. Each piece that is accepted moves the stream behind
/// all others.
pub struct StreamSender {
    of: Arc<SendBuffer>,
    number: u64,
}

impl StreamSender {
    /// Whether a piece is accepted now; if not, the task is woken once one is.
    pub fn has_capacity(&self, context: &Context<'_>) -> bool {
        let mut state = lock(&self.of.state);
        let now = state.bytes < self.of.most_bytes;
        if !now {
            state.waiting.insert(self.number, context.waker().clone());
        }
        now
    }

    /// Accepts a piece, which counts until it has been written to the socket or is discarded.
    pub fn count(&mut self, data: Bytes) -> Piece {
        let mut state = lock(&self.of.state);
        state.bytes += data.len();
        self.number = state.last_place();
        let counted = Counted { bytes: data.len(), of: Arc::clone(&self.of) };
        Piece { data, _counted: Some(counted) }
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        lock(&self.of.state).waiting.remove(&self.number);
    }
}

/// A piece of a response, owned by h2 until it is written.
pub struct Piece {
    data: Bytes,
    /// None if the piece is not counted.
    _counted: Option<Counted>,
}

impl From<Bytes> for Piece {
    fn from(data: Bytes) -> Self {
        Self { data, _counted: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.data.advance(bytes);
    }
}

struct Counted {
    bytes: usize,
    of: Arc<SendBuffer>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.forget(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use h2::{client, server};
    use http::{Request, Response};
    use tokio::io::{DuplexStream, duplex};
    use tokio::runtime::Builder;

    use super::*;

    const CALLS: usize = 20;
    const ANSWER_BYTES: usize = 100 * 1024;
    const UNWRITTEN_BYTES: usize = 64 * 1024;

    /// Answer whatever is called.
    async fn answer_all(socket: DuplexStream, shared: Arc<Shared>) -> Result<(), h2::Error> {
        let mut connection = server::Builder::new().handshake::<_, Piece>(socket).await?;
        while let Some(call) = connection.accept().await {
            let (shared, mut respond) = (Arc::clone(&shared), call?.1);
            tokio::spawn(async move {
                let mut sending = respond.send_response(Response::new(()), false).map_err(Gone::from)?;
                let data = vec![0; ANSWER_BYTES].into();
                send_all(data, true, &mut sending, &Origin::Known(Ipv4Addr::LOCALHOST.into()), &shared).await
            });
        }
        Ok(())
    }

    #[test]
    fn answers_that_nobody_reads_have_room_though_their_windows_are_open() -> Result<(), Box<dyn Error>> {
        Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
            let (here, there) = duplex(4096);
            let service = Arc::new(Service::without_methods()?);
            let shared = Shared::new(Arc::clone(&service), None, None, Some(UNWRITTEN_BYTES));
            tokio::spawn(answer_all(here, Arc::new(shared)));
            let mut caller = client::Builder::new();
            caller.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
            let (mut requests, mut connection) = caller.handshake::<_, Bytes>(there).await?;
            let sent = [(); CALLS].map(|()| requests.send_request(Request::new(()), true));
            tokio::select! {
                biased;
                _ = &mut connection => return Err("it has ended".into()),
                () = async {} => {}
            }
            sleep(Duration::from_secs(1)).await;
            let waiting = service.unsent.held();
            assert!(waiting + UNWRITTEN_BYTES + ANSWER_BYTES >= CALLS * ANSWER_BYTES, "{waiting} bytes fit");
            tokio::spawn(connection);
            for answer in sent {
                let (mut body, mut bytes) = (answer?.0.await?.into_body(), 0);
                while let Some(data) = body.data().await {
                    let data = data?;
                    bytes += data.len();
                    body.flow_control().release_capacity(data.len())?;
                }
                assert_eq!(bytes, ANSWER_BYTES);
            }
            assert_eq!(service.unsent.held(), 0);
            Ok(())
        })
    }
}

#[cfg(test)]
mod send_buffer_tests {
    use std::task::Wake;

    use super::*;

    /// A stream that notes when it is woken.
    struct Stream(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Stream {
        fn wake(self: Arc<Self>) {
            lock(&self.1).push(self.0);
        }
    }

    #[test]
    fn who_had_a_piece_taken_last_is_the_last_to_be_woken() {
        let (buffer, woken) = (SendBuffer::new(100), Arc::default());
        let has_capacity = |stream, sender: &StreamSender| {
            let waker = Arc::new(Stream(stream, Arc::clone(&woken))).into();
            sender.has_capacity(&Context::from_waker(&waker))
        };
        let [mut first, second, third, gone] = [(); 4].map(|()| buffer.sender());
        let [one, other] = [(); 2].map(|()| first.count(Bytes::from_static(&[0; 60])));
        assert!(
            !has_capacity(1, &first)
                && !has_capacity(4, &gone)
                && !has_capacity(3, &third)
                && !has_capacity(2, &second)
        );
        assert!(!has_capacity(2, &second));
        drop(gone);
        drop(one);
        assert_eq!(*lock(&woken), [2, 3, 1]);
        assert!(has_capacity(1, &first) && has_capacity(2, &second));
        drop(other);
        assert_eq!(lock(&woken).len(), 3);
    }

    #[test]
    fn what_counts_nowhere_is_sent_all_the_same() {
        let mut piece = Piece::from(Bytes::from_static(b"abc"));
        piece.advance(1);
        assert_eq!((piece.remaining(), piece.chunk()), (2, b"bc".as_slice()));
    }
}
