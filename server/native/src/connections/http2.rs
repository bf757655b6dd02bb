//! HTTP/2 connections: their bounds, their age, and whether anyone is at the other end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use h2::server::{Builder, Connection};
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};

use crate::bounds::Piece;
use crate::calls::{self, Service, Shared};
use crate::connections::allowance::Allowance;
use crate::connections::presence::{LOOK, Next, Presence};
use crate::connections::sharing::{Share, Sharing};
use crate::peers::Peer;

/// How long the beginning of a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection without calls is kept that is asked to end by a drain: what is on its way comes until then. Whoever
/// has gone says nothing, and would keep the drain from its end.
const SETTLING: Duration = Duration::from_secs(1);
/// What a caller may send of a stream before it is read, at most (as HTTP/2 has it), and what the gateway may.
const STREAM_WINDOW_BYTES: u32 = 65_535;
const GATEWAYS_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What a stream has in memory of what its caller does not read yet.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Streams that were reset here because of what came on them; past it, the connection ends.
const MOST_ERRORS: usize = 1024;
/// A caller may give up a call so often, beside those that it may at once: all of its streams, at deadlines of a second.
const GIVEN_UP_EVERY: Duration = Duration::from_millis(10);

/// What one connection may have, by who is at its other end.
#[derive(Clone, Copy)]
struct Bounds {
    most_streams: u32,
    /// How long a request's headers may be, counted as HTTP/2 does; past it, the call ends.
    headers_bytes: u32,
    share: Share,
    /// The windows of a stream and of the connection: the latter is so large that streams which are not read hold up no
    /// others.
    stream_window_bytes: u32,
    window_bytes: u32,
    /// Whether the window of a stream of messages becomes smaller where it is read slowly (`calls/window.rs`).
    narrows: bool,
    /// What all that comes in pieces may have in memory (requests until they are answered); past it, it is not read on.
    /// None: what there is room for (`bounds/rooms.rs`).
    held_bytes: Option<usize>,
    /// What all answers may have that h2 has taken and the socket has not; past it, they wait. None: no bound.
    unwritten_bytes: Option<usize>,
    /// Streams that were reset before anyone looked at them; past it, the connection ends. A caller that gives everything
    /// up resets all of them, and perhaps again as many.
    most_reset: usize,
    /// Calls that are given up, at once; past it, the connection ends. None: as many as it likes.
    most_given_up: Option<u32>,
    /// Whether it is asked to end when it is old.
    grows_old: bool,
}

/// A caller's, who may have so many streams, and headers of so many bytes in a request.
const fn callers(most_streams: u32, headers_bytes: u32) -> Bounds {
    Bounds {
        most_streams,
        headers_bytes,
        share: Share { turn_bytes: 16 * 1024, block_bytes: 2 * headers_bytes as usize },
        stream_window_bytes: STREAM_WINDOW_BYTES,
        window_bytes: most_streams.saturating_mul(STREAM_WINDOW_BYTES),
        narrows: true,
        held_bytes: Some(32 * 1024 * 1024),
        unwritten_bytes: Some(64 * 1024),
        most_reset: 200,
        most_given_up: Some(200),
        grows_old: true,
    }
}

/// The gateway's: it has bounds of its own for each caller (headers of 60 KB), and puts the calls of all on few
/// connections.
const GATEWAYS: Bounds = Bounds {
    most_streams: 20_000,
    headers_bytes: 64 * 1024,
    share: Share { turn_bytes: usize::MAX, block_bytes: usize::MAX },
    stream_window_bytes: GATEWAYS_STREAM_WINDOW_BYTES,
    window_bytes: 4096 * GATEWAYS_STREAM_WINDOW_BYTES,
    narrows: false,
    held_bytes: None,
    unwritten_bytes: None,
    most_reset: 20_000,
    most_given_up: None,
    grows_old: false,
};

/// How the end of connections comes about.
#[derive(Clone)]
pub struct Ends {
    /// A connection of this age is asked to end (GOAWAY): so long-lived callers spread over workers.
    pub age: Duration,
    /// Becomes true when the server takes no new calls.
    pub draining: watch::Receiver<bool>,
}

impl Ends {
    /// What the beginning of a connection comes to, where it is there in time.
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

    /// Wait until the server takes no new calls.
    pub async fn drain(&mut self) {
        // An error says that nobody is left to tell.
        let _ = self.draining.wait_for(|draining| *draining).await;
    }
}

/// Serve a connection until its end.
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
    let old = sleep_until(Instant::now() + ends.age);
    tokio::pin!(old);
    let mut looking = interval_at(Instant::now() + LOOK, LOOK);
    let mut pings = connection.ping_pong();
    let mut presence = Presence::default();
    let settled = sleep(Duration::ZERO);
    tokio::pin!(settled);
    let (mut ending, mut draining) = (false, false);
    let narrowing = bounds.narrows.then_some(bounds.stream_window_bytes as usize);
    let shared = Arc::new(Shared::new(service, bounds.held_bytes, narrowing, bounds.unwritten_bytes));
    let mut may_give_up = bounds.most_given_up.map(|most| Allowance::new(most, GIVEN_UP_EVERY));
    loop {
        tokio::select! {
            // What else there is to do is looked at when no request has come; the socket lets others have their turn.
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
                // It has ended, or broken: its streams are told by h2.
                Some(Err(_)) | None => return,
            },
            () = &mut old, if bounds.grows_old && !ending => ending = ask_to_end(&mut connection),
            () = ends.drain(), if !draining => {
                (ending, draining) = (ending || ask_to_end(&mut connection), true);
                settled.as_mut().reset(Instant::now() + SETTLING);
            }
            () = &mut settled, if draining => {
                if !connection.has_streams() {
                    // The end of an answer may still have to be written.
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

fn builder(bounds: Bounds) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(bounds.most_streams)
        .initial_window_size(bounds.stream_window_bytes)
        .initial_connection_window_size(bounds.window_bytes)
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
        // Where there is none, the connection has broken, which it says itself.
        let _ = poll_fn(|context| pings.poll_pong(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use h2::client::{self, SendRequest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;
    use tokio::task::JoinHandle;

    use super::*;

    type Caller = (SendRequest<Bytes>, client::Connection<DuplexStream, Bytes>);

    /// Serve a connection, until a drain.
    fn serving(socket: DuplexStream) -> Result<(watch::Sender<bool>, JoinHandle<()>), Box<dyn Error>> {
        let peer = Peer::Caller(IpAddr::V4(Ipv4Addr::LOCALHOST), None);
        let service = Arc::new(Service::without_methods()?);
        let (drain, draining) = watch::channel(false);
        let ends = Ends { age: Duration::from_secs(86_400), draining };
        Ok((drain, tokio::spawn(serve(socket, peer, service, ends))))
    }

    /// A caller's connection, and its end here.
    async fn connection() -> Result<(Caller, watch::Sender<bool>, JoinHandle<()>), Box<dyn Error>> {
        let (here, there) = duplex(64 * 1024);
        let (drain, serving) = serving(here)?;
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
            let (drain, _serving) = serving(here)?;
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
