//! A background thread for work that would block the host's thread for milliseconds: decompressing long bodies, and
//! reading and writing long JSON. It does one piece of work at a time, while short bodies of other callers are
//! processed on the host's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::grpc::{Flaw, Packed};

/// Bodies up to this size are processed on the host's thread: that takes at most 0.4 ms, and handing the work over
/// would cost a tenth of it.
const SHORT_BYTES: usize = 128 * 1024;

type Work = Box<dyn FnOnce() + Send>;

/// The background thread. It ends when this is dropped and the work that it was given is done.
pub struct BackgroundThread {
    work: Sender<Work>,
    /// Held by the one piece of work that is queued or running: a caller that leaves while it waits for it leaves no
    /// work behind.
    permit: Arc<Semaphore>,
}

impl BackgroundThread {
    pub fn start() -> io::Result<Self> {
        let (work, coming) = channel();
        thread::Builder::new().name("native-background".to_owned()).spawn(move || run(&coming))?;
        Ok(Self { work, permit: Arc::new(Semaphore::new(1)) })
    }

    /// The result of `work`, which processes a body of this size; None if the work panicked or the thread has ended.
    pub async fn run<T: Send + 'static>(&self, bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if bytes <= SHORT_BYTES {
            return Some(work());
        }
        let permit = Arc::clone(&self.permit).acquire_owned().await.ok()?;
        let (done, end) = oneshot::channel();
        let work = move || {
            // Nobody receives the result if the caller has left.
            let _ = done.send(work());
            drop(permit);
        };
        self.work.send(Box::new(work)).ok()?;
        end.await.ok()
    }

    /// Decompresses a message; None as for `run`.
    pub async fn unpack(&self, message: Packed) -> Option<Result<Bytes, Flaw>> {
        if message.len() <= SHORT_BYTES {
            match message.unpack(SHORT_BYTES) {
                Err(Flaw::TooLong(_)) => {}
                unpacked => return Some(unpacked),
            }
        }
        self.run(usize::MAX, move || message.unpack(usize::MAX)).await
    }
}

/// The thread's niceness: everything else that a worker does takes microseconds and should go first.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the thread's priority; without effect if the system does not allow it.
fn be_nice() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
}

fn run(coming: &Receiver<Work>) {
    be_nice();
    while let Ok(work) = coming.recv() {
        // A panic fails only the call that the work belongs to: its result is never sent.
        let _ = catch_unwind(AssertUnwindSafe(work));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::Builder;
    use tokio::task::yield_now;

    use super::*;

    const LONG: usize = SHORT_BYTES + 1;

    #[test]
    fn long_work_has_a_thread_of_its_own() -> io::Result<()> {
        let (background, here) = (BackgroundThread::start()?, thread::current().id());
        Builder::new_current_thread().build()?.block_on(async {
            let at = || thread::current().id();
            assert_eq!(background.run(SHORT_BYTES, at).await, Some(here));
            assert!(background.run(LONG, at).await.is_some_and(|there| there != here));
        });
        Ok(())
    }

    #[test]
    #[allow(clippy::panic)]
    fn a_defect_ends_no_other_work() -> io::Result<()> {
        let background = BackgroundThread::start()?;
        Builder::new_current_thread().build()?.block_on(async {
            assert_eq!(background.run::<()>(LONG, || panic!("a defect")).await, None);
            assert_eq!(background.run(LONG, || 7).await, Some(7));
        });
        Ok(())
    }

    #[test]
    fn who_leaves_leaves_no_work_behind() -> io::Result<()> {
        let (background, done) = (Arc::new(BackgroundThread::start()?), Arc::new(AtomicUsize::new(0)));
        Builder::new_current_thread().build()?.block_on(async {
            let (go, wait) = channel::<()>();
            let first = tokio::spawn({
                let background = Arc::clone(&background);
                async move { background.run(LONG, move || wait.recv().is_ok()).await }
            });
            yield_now().await;
            let others = [(); 3].map(|()| {
                let (background, done) = (Arc::clone(&background), Arc::clone(&done));
                tokio::spawn(async move { background.run(LONG, move || done.fetch_add(1, Ordering::Relaxed)).await })
            });
            yield_now().await;
            let [left, too, stays] = others;
            left.abort();
            too.abort();
            yield_now().await;
            assert!(go.send(()).is_ok());
            assert!(matches!(first.await, Ok(Some(true))));
            assert!(matches!(stays.await, Ok(Some(0))));
        });
        assert_eq!(done.load(Ordering::Relaxed), 1);
        Ok(())
    }
}
