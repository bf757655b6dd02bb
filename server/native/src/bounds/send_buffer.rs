//! How many bytes of a connection's responses may be inside h2, neither held by their calls nor written to the socket.
//! Beyond a limit they wait in their calls, where they count against a budget (`bounds/memory_budget.rs`); otherwise
//! callers that read nothing could have h2 buffer data for every stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::{Buf, Bytes};

use crate::locks::lock;

/// The count of one connection.
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
