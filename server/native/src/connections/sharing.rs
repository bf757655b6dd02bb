//! A socket that yields the host's thread after a share of bytes, and fails at a header block that is too long. A
//! caller that sends faster than it can be read delays the others by no more than one share.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::connections::header_blocks::HeaderBlocks;

/// What may be read, in bytes.
#[derive(Clone, Copy)]
pub struct Share {
    /// How much is read before others have their turn.
    pub turn_bytes: usize,
    /// Maximum size of a header block as encoded.
    pub block_bytes: usize,
}

/// A socket, and what is left of its share.
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

#[cfg(test)]
mod tests {
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
