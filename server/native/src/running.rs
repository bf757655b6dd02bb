//! The host's own thread: everything of HTTP/2 is on it, and it never waits for Python.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::arrivals::Event;
use crate::callers::Callers;
use crate::calls::Service;
use crate::connections::{self, CALLERS, Ends, GATEWAYS};
use crate::listening::{Connection, Listener, Sockets};

/// What the host is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serve,
    /// Take no new calls, and let those under way finish in this time.
    Drain(Duration),
    Close,
}

/// A server that runs.
pub struct Running {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Let callers in. A connection is asked to end when it is of this age.
    pub fn start(sockets: Sockets, service: Arc<Service>, callers: Arc<Callers>, age: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let listeners = {
            let _inside = runtime.enter();
            sockets.listen()?
        };
        let (phase, phases) = watch::channel(Phase::Serve);
        let work = move || serve(&runtime, listeners, &service, &callers, age, phases);
        let thread = thread::Builder::new().name("native-host".to_owned()).spawn(work)?;
        Ok(Self { phase, thread })
    }

    /// Take no new calls, and say `Drained` when none is left or the grace is over.
    pub fn drain(&self, grace: Duration) {
        self.phase.send_replace(Phase::Drain(grace));
    }

    /// End now, whatever is under way.
    pub fn close(self) {
        self.phase.send_replace(Phase::Close);
        // It has ended, one way or the other.
        let _ = self.thread.join();
    }
}

fn serve(
    runtime: &Runtime,
    listeners: Vec<Listener>,
    service: &Arc<Service>,
    callers: &Arc<Callers>,
    age: Duration,
    mut phases: watch::Receiver<Phase>,
) {
    runtime.block_on(async {
        let (drain, draining) = watch::channel(false);
        let (open, mut all_closed) = mpsc::channel(1);
        for listener in listeners {
            let ends = Ends { age, draining: draining.clone() };
            tokio::spawn(accept(listener, Arc::clone(service), Arc::clone(callers), ends, open.clone()));
        }
        drop(open);
        let answering = Arc::clone(service);
        tokio::spawn(async move { answering.answers.pass_on().await });
        let refusing = Arc::clone(service);
        tokio::spawn(async move { refusing.refusals.refuse_late(&refusing.arrivals, &refusing.answers).await });
        // An error says that nobody is left to tell: then it is time to close.
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

/// Take connections until the drain. `open` is dropped when the last of them has ended.
async fn accept(
    listener: Listener,
    service: Arc<Service>,
    callers: Arc<Callers>,
    mut ends: Ends,
    open: mpsc::Sender<()>,
) {
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            _ = ends.draining.wait_for(|draining| *draining) => return,
        };
        let (place, address) = match &connection {
            Connection::Path(_) => (None, None),
            Connection::Port(socket) => {
                // Where there is no place, it is closed.
                let Ok(peer) = socket.peer_addr() else { continue };
                let Some(place) = callers.take(peer.ip()) else { continue };
                (Some(place), Some(peer.ip()))
            }
        };
        let (service, ends, open) = (Arc::clone(&service), ends.clone(), open.clone());
        tokio::spawn(async move {
            match connection {
                Connection::Path(socket) => connections::serve(socket, address, GATEWAYS, service, ends).await,
                Connection::Port(socket) => {
                    // Where it cannot be set, answers are a little late.
                    let _ = socket.set_nodelay(true);
                    connections::serve(socket, address, CALLERS, service, ends).await;
                }
            }
            drop((place, open));
        });
    }
}
