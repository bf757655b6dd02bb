//! HTTP/2 connections: their limits, their maximum age, and the detection of dead peers.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::server::{Builder, Connection};
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};

use crate::calls;
use crate::calls::{Piece, Service, Shared};
use crate::connections::limits::{Allowance, LOOK, Next, Presence};
use crate::grpc::Peer;

/// Time limit of the TLS handshake and of the HTTP/2 handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a draining connection is kept open without calls, for calls that are on their way to it. A peer that has
/// vanished would otherwise delay the end of the drain.
const SETTLING: Duration = Duration::from_secs(1);
/// Flow control windows of a stream: a caller's, which is HTTP/2's initial one, and the gateway's.
const STREAM_WINDOW_BYTES: u32 = 65_535;
const GATEWAYS_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Size of h2's send buffer for a stream.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How many streams the host may reset because of what arrived on them before it closes the connection.
const MOST_ERRORS: usize = 1024;
/// How many times as much as a caller's windows its short DATA frames may count as: enough for all of them to be full
/// of messages of 52 bytes in frames of their own, as many clients send them.
const SHORT_FRAMES_TIMES: usize = 4;
/// Rate at which a caller may cancel calls, beyond the burst: enough for all of its streams with deadlines of a second.
const GIVEN_UP_EVERY: Duration = Duration::from_millis(10);

/// The limits of a connection, which depend on its peer.
#[derive(Clone, Copy)]
struct Bounds {
    most_streams: u32,
    /// Maximum size of a request's header list, counted as in HTTP/2 (RFC 9113, section 6.5.2); beyond it, the call
    /// fails.
    headers_bytes: u32,
    share: Share,
    /// Windows of a stream and of the connection. The latter is large enough that streams which are not read do not
    /// block others.
    stream_window_bytes: u32,
    window_bytes: u32,
    /// How much short DATA frames that have not been read yet may count as; beyond it, the connection is closed. h2
    /// counts what each is shorter than 256 bytes.
    short_frames_bytes: usize,
    /// Whether the windows of streams shrink when they are read slowly (`calls/window.rs`).
    narrows: bool,
    /// Memory budget of requests that arrive in several pieces, until they are answered; beyond it they are not read
    /// on. None: only the budgets of the address and the worker apply (`bounds/memory_budget.rs`).
    held_bytes: Option<usize>,
    /// How many bytes of responses may be inside h2; beyond that they wait in their calls. None: no limit.
    send_buffer_bytes: Option<usize>,
    /// How many streams may be reset by the peer before they were accepted; beyond it, the connection is closed. A
    /// caller that cancels everything resets all of its streams, and perhaps as many again.
    most_reset: usize,
    /// How many calls may be cancelled in a burst; beyond it, the connection is closed. None: no limit.
    most_given_up: Option<u32>,
    /// Whether the connection is closed when it reaches the maximum age.
    grows_old: bool,
}

/// The limits of a caller's connection.
const fn callers(most_streams: u32, headers_bytes: u32) -> Bounds {
    let window_bytes = most_streams.saturating_mul(STREAM_WINDOW_BYTES);
    Bounds {
        most_streams,
        headers_bytes,
        share: Share { turn_bytes: 16 * 1024, block_bytes: 2 * headers_bytes as usize },
        stream_window_bytes: STREAM_WINDOW_BYTES,
        window_bytes,
        short_frames_bytes: SHORT_FRAMES_TIMES * window_bytes as usize,
        narrows: true,
        held_bytes: Some(32 * 1024 * 1024),
        send_buffer_bytes: Some(64 * 1024),
        most_reset: 200,
        most_given_up: Some(200),
        grows_old: true,
    }
}

/// The limits of a gateway connection. The gateway has limits of its own for each caller (headers of 60 KB), and sends
/// the calls of all callers over few connections.
const GATEWAYS: Bounds = Bounds {
    most_streams: 20_000,
    headers_bytes: 64 * 1024,
    share: Share { turn_bytes: usize::MAX, block_bytes: usize::MAX },
    stream_window_bytes: GATEWAYS_STREAM_WINDOW_BYTES,
    window_bytes: 4096 * GATEWAYS_STREAM_WINDOW_BYTES,
    short_frames_bytes: 2048 * GATEWAYS_STREAM_WINDOW_BYTES as usize,
    narrows: false,
    held_bytes: None,
    send_buffer_bytes: None,
    most_reset: 20_000,
    most_given_up: None,
    grows_old: false,
};

/// When connections are closed.
#[derive(Clone)]
pub struct Ends {
    /// Maximum age of a connection; then it gets a GOAWAY, so that long-lived callers spread over the workers. Up to a
    /// tenth is added by chance, so that those who have come together do not come back together (gRPC proposal A9).
    pub age: Duration,
    /// Becomes true when the server begins to drain.
    pub draining: watch::Receiver<bool>,
}

impl Ends {
    /// The result of a handshake; None if it takes too long or a drain ends it.
    pub async fn in_time<T>(&mut self, beginning: impl Future<Output = T>) -> Option<T> {
        let drained = async {
            self.drain().await;
            sleep(SETTLING).await;
        };
        tokio::select! {
            begun = timeout(HANDSHAKE, beginning) => begun.ok(),
            () = drained => None,
        }
    }

    /// Waits until the server begins to drain.
    pub async fn drain(&mut self) {
        // An error means that the sender is gone: the server is closing.
        let _ = self.draining.wait_for(|draining| *draining).await;
    }
}

/// Serves a connection until it is closed.
pub async fn serve<S>(socket: S, peer: Peer, service: Arc<Service>, mut ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let bounds = match peer {
        Peer::Gateway => GATEWAYS,
        Peer::Caller(..) => callers(service.most_streams, service.headers_bytes),
    };
    let handshake = builder(bounds).handshake::<_, Piece>(Sharing::new(socket, bounds.share));
    let Some(Ok(mut connection)) = ends.in_time(handshake).await else { return };
    let old = sleep_until(Instant::now() + ends.age + by_chance(ends.age / 10));
    tokio::pin!(old);
    let mut looking = interval_at(Instant::now() + LOOK, LOOK);
    let mut pings = connection.ping_pong();
    let mut presence = Presence::default();
    let settled = sleep(Duration::ZERO);
    tokio::pin!(settled);
    let (mut ending, mut draining) = (false, false);
    let narrowing = bounds.narrows.then_some(bounds.stream_window_bytes as usize);
    let shared = Arc::new(Shared::new(service, bounds.held_bytes, narrowing, bounds.send_buffer_bytes));
    let mut may_give_up = bounds.most_given_up.map(|most| Allowance::new(most, GIVEN_UP_EVERY));
    loop {
        tokio::select! {
            // In this order: new requests come before the rest. `Sharing` yields now and then, so that they cannot keep
            // it from its turn.
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    calls::serve(request, respond, &shared, &peer);
                    let given_up = shared.take_given_up();
                    if given_up > 0
                        && let Some(allowance) = &mut may_give_up
                        && !allowance.take(given_up, Instant::now())
                    {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                // Closed or broken; h2 informs the streams.
                Some(Err(_)) | None => return,
            },
            () = &mut old, if bounds.grows_old && !ending => ending = ask_to_end(&mut connection),
            () = ends.drain(), if !draining => {
                (ending, draining) = (ending || ask_to_end(&mut connection), true);
                settled.as_mut().reset(Instant::now() + SETTLING);
            }
            () = &mut settled, if draining => {
                if !connection.has_streams() {
                    // The end of a response may still have to be written.
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                }
                settled.as_mut().reset(Instant::now() + SETTLING);
            }
            () = pong(&mut pings), if presence.is_asked() => presence.answer(),
            _ = looking.tick() => match presence.look(Instant::now()) {
                Next::Ask if ping(&mut pings) => presence.ask(Instant::now()),
                Next::Ask | Next::Wait => {}
                Next::End => return,
            },
        }
    }
}

/// A duration between 0 and `most`.
fn by_chance(most: Duration) -> Duration {
    let chance = RandomState::new().hash_one(()) % 1000;
    most / 1000 * u32::try_from(chance).unwrap_or_default()
}

fn builder(bounds: Bounds) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(bounds.most_streams)
        .initial_window_size(bounds.stream_window_bytes)
        .initial_connection_window_size(bounds.window_bytes)
        .data_frame_budget(bounds.short_frames_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(bounds.headers_bytes)
        .max_pending_accept_reset_streams(bounds.most_reset)
        .max_local_error_reset_streams(Some(MOST_ERRORS));
    builder
}

fn ask_to_end<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S, Piece>) -> bool {
    connection.graceful_shutdown();
    true
}

fn ping(pings: &mut Option<PingPong>) -> bool {
    pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok())
}

async fn pong(pings: &mut Option<PingPong>) {
    if let Some(pings) = pings {
        // An error means that the connection is broken, which `accept` reports.
        let _ = poll_fn(|context| pings.poll_pong(context)).await;
    }
}

/// What may be read, in bytes.
#[derive(Clone, Copy)]
pub struct Share {
    /// How much is read before others have their turn.
    pub turn_bytes: usize,
    /// Maximum size of a header block as encoded.
    pub block_bytes: usize,
}

/// A socket that yields the host's thread after a share of bytes, and fails at a header block that is too long. A
/// caller that sends faster than it can be read delays the others by no more than one share.
pub struct Sharing<S> {
    socket: S,
    turn_bytes: usize,
    left: usize,
    blocks: HeaderBlocks,
}

impl<S> Sharing<S> {
    pub fn new(socket: S, share: Share) -> Self {
        let Share { turn_bytes, block_bytes } = share;
        Self { socket, turn_bytes, left: turn_bytes, blocks: HeaderBlocks::new(block_bytes) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sharing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = self.turn_bytes;
            // Wakes the task only after the other runnable tasks, and those whose data has arrived meanwhile.
            ready!(pin!(yield_now()).poll(context));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if read.is_pending() {
            self.left = self.turn_bytes;
            return read;
        }
        let come = buffer.filled().get(before..).unwrap_or_default();
        self.left = self.left.saturating_sub(come.len());
        if self.blocks.look(come) { read } else { Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sharing<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Measures header blocks by their frame headers, so that one that is too long is refused before any of it is decoded
/// (RFC 9113, sections 4.1, 6.2 and 6.10).
pub struct HeaderBlocks {
    most_bytes: usize,
    block_bytes: usize,
    /// How many bytes of the preface, or of the current frame's payload, are still to come.
    skipping: usize,
    /// The part of the next frame's header that has arrived.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
}

impl HeaderBlocks {
    /// Allows header blocks of at most this many bytes as encoded.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, block_bytes: 0, skipping: PREFACE_BYTES, head: [0; HEAD_BYTES], head_bytes: 0 }
    }

    /// Scans the next bytes; returns false once a header block is too long.
    pub fn look(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let (skipped, rest) = data.split_at(self.skipping.min(data.len()));
            self.skipping -= skipped.len();
            let (more, rest) = rest.split_at(rest.len().min(HEAD_BYTES - self.head_bytes));
            for (place, byte) in self.head.iter_mut().skip(self.head_bytes).zip(more) {
                *place = *byte;
            }
            self.head_bytes += more.len();
            data = rest;
            if self.head_bytes == HEAD_BYTES && !self.begin_frame() {
                return false;
            }
        }
        true
    }

    fn begin_frame(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.head;
        self.head_bytes = 0;
        self.skipping = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.block_bytes = match kind {
            HEADERS => self.skipping,
            CONTINUATION => self.block_bytes + self.skipping,
            _ => 0,
        };
        self.block_bytes <= self.most_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::error::Error;
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use h2::client::{self, SendRequest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;
    use tokio::task::JoinHandle;

    use super::*;

    const NEVER: Duration = Duration::from_secs(86_400);

    type Caller = (SendRequest<Bytes>, client::Connection<DuplexStream, Bytes>);

    /// Serve a connection, until a drain.
    fn serving(socket: DuplexStream, age: Duration) -> Result<(watch::Sender<bool>, JoinHandle<()>), Box<dyn Error>> {
        let peer = Peer::Caller(IpAddr::V4(Ipv4Addr::LOCALHOST), None);
        let service = Arc::new(Service::without_methods()?);
        let (drain, draining) = watch::channel(false);
        let ends = Ends { age, draining };
        Ok((drain, tokio::spawn(serve(socket, peer, service, ends))))
    }

    /// A caller's connection, which does not grow old, and its end here.
    async fn connection() -> Result<(Caller, watch::Sender<bool>, JoinHandle<()>), Box<dyn Error>> {
        let (here, there) = duplex(64 * 1024);
        let (drain, serving) = serving(here, NEVER)?;
        Ok((client::handshake(there).await?, drain, serving))
    }

    #[test]
    fn who_is_there_stays_however_long_nothing_comes_and_who_is_not_has_gone_in_two_minutes()
    -> Result<(), Box<dyn Error>> {
        Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
            let ((_requests, there), _drain, serving) = connection().await?;
            let (_nothing_reads_it, _other, gone) = connection().await?;
            tokio::spawn(there);
            sleep(Duration::from_secs(120)).await;
            assert!(gone.is_finished());
            sleep(Duration::from_secs(3600)).await;
            assert!(!serving.is_finished());
            Ok(())
        })
    }

    #[test]
    fn connections_of_one_moment_are_asked_to_end_within_a_tenth_of_their_age_one_by_one() -> Result<(), Box<dyn Error>>
    {
        const AGE: Duration = Duration::from_secs(60);
        Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
            let (mut ends, mut drains, begun) = (Vec::new(), Vec::new(), Instant::now());
            for _ in 0..50 {
                let (here, there) = duplex(64 * 1024);
                drains.push(serving(here, AGE)?);
                let (requests, connection) = client::handshake(there).await?;
                ends.push(tokio::spawn(async move {
                    let _open = requests;
                    connection.await.map(|()| begun.elapsed().as_millis())
                }));
            }
            let mut ages = HashSet::new();
            for end in ends {
                ages.insert(end.await??);
            }
            assert!(ages.iter().all(|age| (60_000..=66_000).contains(age)), "{ages:?}");
            assert!(ages.len() > 25, "{ages:?}");
            Ok(())
        })
    }

    #[test]
    fn a_drain_leaves_answers_that_are_read_late() -> Result<(), Box<dyn Error>> {
        const HEADERS: u8 = 1;
        const CALLS: u8 = 10;
        let frame = |kind, flags, stream, payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap_or_default();
            [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
        };
        let get = [0x82, 0x86, 0x84];
        let calls: Vec<_> = (0..CALLS).map(|number| frame(HEADERS, 5, number * 2 + 1, &get)).collect();
        let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), calls.concat()].concat();
        Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
            let (here, mut there) = duplex(64);
            let (drain, _serving) = serving(here, NEVER)?;
            there.write_all(&sent).await?;
            sleep(Duration::from_millis(1)).await;
            drain.send_replace(true);
            sleep(Duration::from_secs(10)).await;
            let mut came = Vec::new();
            there.read_to_end(&mut came).await?;
            let (mut answers, mut left) = (0, came.as_slice());
            while let Some((&[_, _, length, kind, ..], rest)) = left.split_first_chunk::<9>() {
                answers += u8::from(kind == HEADERS);
                left = rest.get(usize::from(length)..).unwrap_or_default();
            }
            assert_eq!(answers, CALLS);
            Ok(())
        })
    }
}

#[cfg(test)]
mod sharing_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::runtime::Builder;

    use super::*;

    const SHARE: Share = Share { turn_bytes: 1000, block_bytes: 0 };

    #[test]
    fn others_run_while_one_reads_what_never_ends() -> io::Result<()> {
        let read = Arc::new(AtomicUsize::new(0));
        let reading = Arc::clone(&read);
        Builder::new_current_thread().build()?.block_on(async {
            let reader = tokio::spawn(async move {
                let mut socket = Sharing::new(tokio::io::repeat(0), SHARE);
                let mut buffer = [0; 100];
                while let Ok(bytes) = socket.read(&mut buffer).await {
                    reading.fetch_add(bytes, Ordering::Relaxed);
                }
            });
            for turn in 1..=3 {
                yield_now().await;
                assert_eq!(read.load(Ordering::Relaxed), turn * SHARE.turn_bytes);
            }
            reader.abort();
        });
        Ok(())
    }
}

#[cfg(test)]
mod header_blocks_tests {
    use super::*;

    const DATA: u8 = 0;

    fn frames(frames: &[(u8, usize)]) -> Vec<u8> {
        let mut bytes = vec![b'P'; PREFACE_BYTES];
        for (kind, length) in frames {
            let [.., high, middle, low] = length.to_be_bytes();
            bytes.extend([high, middle, low, *kind, 0, 0, 0, 0, 1]);
            bytes.extend(vec![HEADERS; *length]);
        }
        bytes
    }

    #[test]
    fn a_block_has_so_many_bytes_however_they_come() {
        let cases: [(&[(u8, usize)], bool); 6] = [
            (&[(HEADERS, 1000), (CONTINUATION, 0), (DATA, 16_000), (HEADERS, 1000)], true),
            (&[(HEADERS, 1001)], false),
            (&[(HEADERS, 400), (CONTINUATION, 400), (CONTINUATION, 200)], true),
            (&[(HEADERS, 400), (CONTINUATION, 400), (CONTINUATION, 201)], false),
            (&[(DATA, 70_000), (HEADERS, 0), (CONTINUATION, 70_000)], false),
            (&[], true),
        ];
        for (sent, fits) in cases {
            let bytes = frames(sent);
            for piece in [1, 2, 7, 9, 1024, usize::MAX] {
                let mut blocks = HeaderBlocks::new(1000);
                assert_eq!(bytes.chunks(piece.min(bytes.len())).all(|piece| blocks.look(piece)), fits, "{sent:?}");
            }
        }
    }
}
