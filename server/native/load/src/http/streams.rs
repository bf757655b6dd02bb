//! The streams of an HTTP/2 connection. Clients number them 1, 3, 5, …, so a queue serves as the index.

use std::collections::VecDeque;

use crate::http::hpack::Head;

/// A stream: the caller's tag, the unsent part of the request, and what has arrived of the response.
pub struct Stream {
    pub tag: u64,
    /// How many bytes the peer accepts now.
    pub window: i64,
    /// The part of the body that waits for flow control, and how much of that has been sent.
    pub kept: Vec<u8>,
    pub taken: usize,
    /// Whether the body is complete.
    pub is_complete: bool,
    /// Whether END_STREAM has been sent.
    pub is_sent: bool,
    pub splits_messages: bool,
    pub head: Head,
    pub body: Vec<u8>,
}

impl Stream {
    pub fn new(tag: u64, window: i64, splits_messages: bool) -> Self {
        let (kept, body, head) = (Vec::new(), Vec::new(), Head::default());
        Self { tag, window, kept, taken: 0, is_complete: false, is_sent: false, splits_messages, head, body }
    }
}

pub struct Streams {
    /// Streams from ID `oldest` on. A closed one is None until all older ones are closed.
    queue: VecDeque<Option<Stream>>,
    oldest: u32,
    open: usize,
}

impl Streams {
    pub fn new() -> Self {
        Self { queue: VecDeque::new(), oldest: 1, open: 0 }
    }

    /// Number of open streams.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The open streams with their IDs, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Stream)> {
        let numbered = (self.oldest..).step_by(2).zip(&self.queue);
        numbered.filter_map(|(id, stream)| stream.as_ref().map(|stream| (id, stream)))
    }

    /// The stream with this ID, if it is open.
    pub fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id)?;
        self.queue.get_mut(place)?.as_mut()
    }

    /// Adds a stream; returns its ID.
    pub fn begin(&mut self, stream: Stream) -> u32 {
        self.open += 1;
        self.queue.push_back(Some(stream));
        self.oldest + 2 * (self.queue.len() as u32 - 1)
    }

    /// Removes a stream.
    pub fn end(&mut self, id: u32) -> Option<Stream> {
        let place = self.place(id)?;
        let stream = self.queue.get_mut(place)?.take()?;
        self.open -= 1;
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.oldest += 2;
        }
        Some(stream)
    }

    /// Changes the windows of all streams, after the peer has changed SETTINGS_INITIAL_WINDOW_SIZE.
    pub fn grow_windows(&mut self, bytes: i64) {
        self.queue.iter_mut().flatten().for_each(|stream| stream.window += bytes);
    }

    fn place(&self, id: u32) -> Option<usize> {
        Some(id.checked_sub(self.oldest)? as usize / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_by_number_until_they_end() {
        let mut streams = Streams::new();
        let numbers: Vec<u32> = (0..4).map(|tag| streams.begin(Stream::new(tag, 10, false))).collect();
        assert_eq!(numbers, [1, 3, 5, 7]);
        assert_eq!(streams.end(3).map(|stream| stream.tag), Some(1));
        assert!(streams.end(3).is_none() && streams.get(3).is_none() && streams.get(9).is_none());
        assert_eq!(streams.end(1).map(|stream| stream.tag), Some(0));
        streams.grow_windows(5);
        assert_eq!(
            streams.iter().map(|(id, stream)| (id, stream.tag, stream.window)).collect::<Vec<_>>(),
            [(5, 2, 15), (7, 3, 15)]
        );
        assert_eq!((streams.open(), streams.begin(Stream::new(4, 10, false))), (2, 9));
    }
}
