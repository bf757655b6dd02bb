//! The host's network thread: it does all HTTP/2 work and never waits for Python.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::calls::Service;
use crate::connections::http2::{self, Ends};
use crate::connections::limits::Callers;
use crate::connections::listening::{Connection, Listener, Sockets};
use crate::connections::tls::{self, Tls};
use crate::grpc::Peer;
use crate::handover::Event;

/// How long the thread sleeps between polls while many calls wait for their turn: handling more events at once costs
/// less.
const REST: Duration = Duration::from_millis(2);

/// The state that the host is asked to be in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serve,
    /// Accept no new calls, and let current ones finish within this time.
    Drain(Duration),
    Close,
}

/// What connections on the ports have to pass: connection limits and TLS.
#[derive(Clone)]
pub struct Door {
    pub callers: Arc<Callers>,
    pub tls: Arc<Tls>,
}

/// A running server.
pub struct Running {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts to accept connections; `age` is their maximum age.
    pub fn start(sockets: Sockets, service: Arc<Service>, door: Door, age: Duration) -> io::Result<Self> {
        let waiting = Arc::clone(&service);
        let rest = move || {
            if waiting.arrivals.are_crowded() {
                thread::sleep(REST);
            }
        };
        let runtime = Builder::new_current_thread().enable_io().enable_time().on_thread_park(rest).build()?;
        let listeners = {
            let _inside = runtime.enter();
            sockets.listen()?
        };
        let (phase, phases) = watch::channel(Phase::Serve);
        let work = move || serve(&runtime, listeners, &service, &door, age, phases);
        let thread = thread::Builder::new().name("native-host".to_owned()).spawn(work)?;
        Ok(Self { phase, thread })
    }

    /// Accepts no new calls, and reports `Drained` when the last has ended or the grace period is over.
    pub fn drain(&self, grace: Duration) {
        self.phase.send_replace(Phase::Drain(grace));
    }

    /// Stops at once, whatever is in progress.
    pub fn close(self) {
        self.phase.send_replace(Phase::Close);
        // Whether the thread panicked does not matter any more.
        let _ = self.thread.join();
    }
}

fn serve(
    runtime: &Runtime,
    listeners: Vec<Listener>,
    service: &Arc<Service>,
    door: &Door,
    age: Duration,
    mut phases: watch::Receiver<Phase>,
) {
    runtime.block_on(async {
        let (drain, draining) = watch::channel(false);
        let (open, mut all_closed) = mpsc::channel(1);
        for listener in listeners {
            let ends = Ends { age, draining: draining.clone() };
            tokio::spawn(accept(listener, Arc::clone(service), door.clone(), ends, open.clone()));
        }
        drop(open);
        let answering = Arc::clone(service);
        tokio::spawn(async move { answering.answers.pass_on().await });
        let refusing = Arc::clone(service);
        tokio::spawn(async move { refusing.refusals.refuse_late(&refusing.arrivals, &refusing.answers).await });
        // An error means that the sender is gone: time to close.
        let _ = phases.wait_for(|phase| *phase != Phase::Serve).await;
        let phase = *phases.borrow();
        if let Phase::Drain(grace) = phase {
            drain.send_replace(true);
            tokio::select! {
                _ = timeout(grace, all_closed.recv()) => service.arrivals.add_event(Event::Drained),
                _ = phases.wait_for(|phase| *phase == Phase::Close) => {}
            }
        }
        let _ = phases.wait_for(|phase| *phase == Phase::Close).await;
    });
}

/// Accepts connections until the drain. Each holds a clone of `open`, whose last one is dropped when all have ended.
async fn accept(listener: Listener, service: Arc<Service>, door: Door, mut ends: Ends, open: mpsc::Sender<()>) {
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = ends.drain() => return,
        };
        let (service, ends, open, door) = (Arc::clone(&service), ends.clone(), open.clone(), door.clone());
        match connection {
            Connection::Path(socket) => {
                tokio::spawn(async move {
                    http2::serve(socket, Peer::Gateway, service, ends).await;
                    drop(open);
                });
            }
            Connection::Port(socket) => {
                // Dropping the socket closes the connection.
                let Ok(peer) = socket.peer_addr() else { continue };
                let Some(place) = door.callers.take(peer.ip()) else { continue };
                tokio::spawn(async move {
                    // If this fails, responses are only delayed a little.
                    let _ = socket.set_nodelay(true);
                    serve_caller(socket, peer.ip(), &door, service, ends).await;
                    drop((place, open));
                });
            }
        }
    }
}

/// Serves a connection on a port, after the TLS handshake if TLS is configured.
async fn serve_caller(socket: TcpStream, address: IpAddr, door: &Door, service: Arc<Service>, mut ends: Ends) {
    let Some(acceptor) = door.tls.acceptor() else {
        return http2::serve(socket, Peer::Caller(address, None), service, ends).await;
    };
    match ends.in_time(tls::accept(&acceptor, socket)).await {
        Some(Ok((stream, name))) => http2::serve(stream, Peer::Caller(address, name), service, ends).await,
        Some(Err(error)) if tls::is_of_certificate(&error) => door.callers.count_certificate(),
        // The connection broke off or was too slow.
        Some(Err(_)) | None => {}
    }
}
