//! Client side of an HTTP/2 connection (RFC 9113), without I/O: it consumes and produces bytes, and reports events.

use crate::http::frame::{self, Frame, error, flag, kind, setting};
use crate::http::hpack::{self, Decoder, Head, RequestHeaders};
use crate::http::streams::{Stream, Streams};

/// Size of the gRPC message prefix: compressed flag and length.
pub const PREFIX_BYTES: usize = 5;

/// What has happened to a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message of a response that continues.
    Message { tag: u64, message: Vec<u8> },
    /// The end of a response.
    End { tag: u64, head: Head, body: Vec<u8> },
    /// The peer has reset the stream with this error code.
    Reset { tag: u64, code: u32 },
    /// The peer has not processed the request; it may be sent again on another connection.
    Unseen { tag: u64 },
}

pub struct Http2 {
    fields: Vec<(String, String)>,
    has_timeout: bool,
    headers: Option<RequestHeaders>,
    is_first: bool,
    out: Vec<u8>,
    incoming: Vec<u8>,
    decoder: Decoder,
    /// An incomplete header block, continued in CONTINUATION: its stream, its first frame's flags, and its bytes so
    /// far.
    block: Option<(u32, u8, Vec<u8>)>,
    window: i64,
    stream_window: i64,
    most_streams: usize,
    streams: Streams,
    /// Streams whose bodies wait for flow control.
    blocked: Vec<u32>,
    received_bytes: u32,
    is_leaving: bool,
}

/// The connection's window is refilled after this many received bytes.
const REFILL_BYTES: u32 = 1 << 30;

impl Http2 {
    /// A connection whose requests have these header fields, and `grpc-timeout` if `has_timeout`.
    pub fn new(fields: Vec<(String, String)>, has_timeout: bool) -> Self {
        let mut settings = Vec::new();
        for (name, value) in [(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, frame::LARGEST_WINDOW)] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        let mut out = frame::PREFACE.to_vec();
        frame::put(&mut out, kind::SETTINGS, 0, 0, &settings);
        let growth = frame::LARGEST_WINDOW - frame::DEFAULT_WINDOW;
        frame::put(&mut out, kind::WINDOW_UPDATE, 0, 0, &growth.to_be_bytes());
        Self {
            fields,
            has_timeout,
            headers: None,
            is_first: true,
            out,
            incoming: Vec::new(),
            decoder: Decoder::new(),
            block: None,
            window: frame::DEFAULT_WINDOW.into(),
            stream_window: frame::DEFAULT_WINDOW.into(),
            most_streams: usize::MAX,
            streams: Streams::new(),
            blocked: Vec::new(),
            received_bytes: 0,
            is_leaving: false,
        }
    }

    /// The bytes to be written.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Number of open streams.
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// Whether the peer accepts no new streams.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Whether bodies wait for flow control.
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Whether a stream can be opened now. None can before the peer's SETTINGS, with its header table size, have
    /// arrived.
    pub fn has_room(&self) -> bool {
        self.headers.is_some() && !self.is_leaving && !self.is_blocked() && self.streams.open() < self.most_streams
    }

    /// Tags of the open streams, oldest first.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        self.streams.iter().map(|(_, stream)| stream.tag)
    }

    /// Opens a stream; returns its ID. With `splits_messages`, its response is reported message by message; `length` is
    /// the `content-length`, if the request has one.
    pub fn begin(&mut self, tag: u64, timeout_ms: Option<u64>, splits_messages: bool, length: Option<usize>) -> u32 {
        let id = self.streams.begin(Stream::new(tag, self.stream_window, splits_messages));
        let start = self.out.len();
        frame::put_header(&mut self.out, 0, kind::HEADERS, flag::END_HEADERS, id);
        if let Some(headers) = &self.headers {
            let is_first = std::mem::take(&mut self.is_first);
            let (fields, timeout) = if is_first {
                (&headers.first, &headers.first_timeout)
            } else {
                (&headers.later, &headers.later_timeout)
            };
            self.out.extend_from_slice(fields);
            if let Some(timeout_ms) = timeout_ms.filter(|_| self.has_timeout) {
                self.out.extend_from_slice(timeout);
                hpack::put_timeout(&mut self.out, timeout_ms);
            }
            if let Some(length) = length {
                hpack::put_length(&mut self.out, length);
            }
        }
        let length = (self.out.len() - start - frame::HEADER_BYTES) as u32;
        self.out[start..start + 3].copy_from_slice(&length.to_be_bytes()[1..]);
        id
    }

    /// Sends a part of a request's body, or queues it for flow control.
    pub fn send(&mut self, id: u32, body: &[u8], is_last: bool) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_complete = is_last;
        if !stream.kept.is_empty() {
            stream.kept.extend_from_slice(body);
            return;
        }
        let sent = put_data(&mut self.out, &mut self.window, stream, id, body);
        if sent < body.len() {
            stream.kept.extend_from_slice(&body[sent..]);
            self.blocked.push(id);
        }
    }

    /// Cancels the oldest stream if its tag is below this one; returns its tag.
    pub fn cancel_oldest(&mut self, below: u64) -> Option<u64> {
        let id = self.streams.iter().find(|(_, stream)| stream.tag < below)?.0;
        frame::put(&mut self.out, kind::RST_STREAM, 0, id, &error::CANCEL.to_be_bytes());
        self.end(id).map(|stream| stream.tag)
    }

    /// Processes received bytes. An error says what the peer did wrong; the connection is then unusable.
    pub fn receive(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        if self.incoming.is_empty() {
            let taken = self.take_frames(data, events)?;
            self.incoming.extend_from_slice(&data[taken..]);
            return Ok(());
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(data);
        let taken = self.take_frames(&incoming, events)?;
        incoming.drain(..taken);
        self.incoming = incoming;
        Ok(())
    }

    fn take_frames(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<usize, String> {
        let mut taken = 0;
        while let Some((frame, bytes)) = Frame::first_of(&data[taken..]) {
            self.take(&frame, events)?;
            taken += bytes;
        }
        Ok(taken)
    }

    fn take(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        match frame.kind {
            kind::DATA => self.take_data(frame, events)?,
            kind::HEADERS if frame.has(flag::END_HEADERS) => {
                self.take_block(frame.stream, frame.flags, frame.content()?, events)?;
            }
            kind::HEADERS => self.block = Some((frame.stream, frame.flags, frame.content()?.to_vec())),
            kind::CONTINUATION => {
                let (stream, flags, mut block) = self.block.take().ok_or("a CONTINUATION follows no HEADERS")?;
                block.extend_from_slice(frame.payload);
                if frame.has(flag::END_HEADERS) {
                    self.take_block(stream, flags, &block, events)?;
                } else {
                    self.block = Some((stream, flags, block));
                }
            }
            kind::RST_STREAM => {
                let code = frame.number(0)?;
                if let Some(stream) = self.end(frame.stream) {
                    events.push(Event::Reset { tag: stream.tag, code });
                }
            }
            kind::SETTINGS if !frame.has(flag::ACK) => self.take_settings(frame)?,
            kind::PING if !frame.has(flag::ACK) => {
                frame::put(&mut self.out, kind::PING, flag::ACK, 0, frame.payload);
            }
            kind::GOAWAY => self.take_goaway(frame, events)?,
            kind::WINDOW_UPDATE => {
                let growth = i64::from(frame.number(0)? & frame::LARGEST_WINDOW);
                if frame.stream == 0 {
                    self.window += growth;
                } else if let Some(stream) = self.streams.get(frame.stream) {
                    stream.window += growth;
                }
                self.send_blocked();
            }
            _ => {}
        }
        Ok(())
    }

    fn take_data(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        self.received_bytes += frame.payload.len() as u32;
        if self.received_bytes > REFILL_BYTES {
            let growth = std::mem::take(&mut self.received_bytes).to_be_bytes();
            frame::put(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &growth);
        }
        let Some(stream) = self.streams.get(frame.stream) else { return Ok(()) };
        stream.body.extend_from_slice(frame.content()?);
        if stream.splits_messages {
            while let Some(end) = message_end(&stream.body) {
                let message = stream.body[PREFIX_BYTES..end].to_vec();
                stream.body.drain(..end);
                events.push(Event::Message { tag: stream.tag, message });
            }
        }
        if frame.has(flag::END_STREAM) {
            self.answer(frame.stream, events);
        }
        Ok(())
    }

    fn take_block(&mut self, id: u32, flags: u8, block: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        // Blocks of closed streams must be decoded, too: they change the dynamic table.
        let mut unknown = Head::default();
        let head = self.streams.get(id).map_or(&mut unknown, |stream| &mut stream.head);
        self.decoder.decode(block, head)?;
        if flags & flag::END_STREAM != 0 {
            self.answer(id, events);
        }
        Ok(())
    }

    fn take_settings(&mut self, frame: &Frame) -> Result<(), String> {
        let mut table_bytes = None;
        for start in (0..frame.payload.len()).step_by(6) {
            let value = frame.number(start + 2)?;
            match u16::from_be_bytes([frame.payload[start], frame.payload[start + 1]]) {
                setting::HEADER_TABLE_SIZE => table_bytes = Some(value as usize),
                setting::MAX_CONCURRENT_STREAMS => self.most_streams = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    let growth = i64::from(value) - self.stream_window;
                    self.stream_window = value.into();
                    self.streams.grow_windows(growth);
                }
                _ => {}
            }
        }
        if self.headers.is_none() || table_bytes.is_some() {
            let fields: Vec<_> = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let table_bytes = table_bytes.unwrap_or(hpack::TABLE_BYTES);
            self.headers = Some(RequestHeaders::new(&fields, self.has_timeout, table_bytes));
            self.is_first = true;
        }
        frame::put(&mut self.out, kind::SETTINGS, flag::ACK, 0, b"");
        self.send_blocked();
        Ok(())
    }

    fn take_goaway(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), String> {
        let last = frame.number(0)? & frame::LARGEST_WINDOW;
        self.is_leaving = true;
        let unseen: Vec<u32> = self.streams.iter().map(|(id, _)| id).filter(|&id| id > last).collect();
        events.extend(unseen.into_iter().filter_map(|id| self.end(id)).map(|stream| Event::Unseen { tag: stream.tag }));
        Ok(())
    }

    fn answer(&mut self, id: u32, events: &mut Vec<Event>) {
        if let Some(stream) = self.end(id) {
            if !stream.is_sent {
                frame::put(&mut self.out, kind::RST_STREAM, 0, id, &error::CANCEL.to_be_bytes());
            }
            events.push(Event::End { tag: stream.tag, head: stream.head, body: stream.body });
        }
    }

    fn end(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.end(id)?;
        if !stream.kept.is_empty() {
            self.blocked.retain(|&blocked| blocked != id);
        }
        Some(stream)
    }

    fn send_blocked(&mut self) {
        self.blocked.retain(|&id| {
            let Some(stream) = self.streams.get(id) else { return false };
            let kept = std::mem::take(&mut stream.kept);
            stream.taken += put_data(&mut self.out, &mut self.window, stream, id, &kept[stream.taken..]);
            let is_blocked = stream.taken < kept.len();
            if is_blocked {
                stream.kept = kept;
            } else {
                stream.taken = 0;
            }
            is_blocked
        });
    }
}

/// Appends as much of a body as the windows allow; returns how many bytes that was.
fn put_data(out: &mut Vec<u8>, window: &mut i64, stream: &mut Stream, id: u32, body: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        let rest = &body[sent..];
        let size = rest.len().min((*window).min(stream.window).max(0) as usize).min(frame::LARGEST_FRAME);
        if size == 0 && !(rest.is_empty() && stream.is_complete && !stream.is_sent) {
            return sent;
        }
        stream.is_sent = stream.is_complete && size == rest.len();
        let flags = if stream.is_sent { flag::END_STREAM } else { 0 };
        frame::put(out, kind::DATA, flags, id, &rest[..size]);
        *window -= size as i64;
        stream.window -= size as i64;
        sent += size;
    }
}

/// The end of the first gRPC message; None if it is incomplete.
fn message_end(body: &[u8]) -> Option<usize> {
    let prefix = body.first_chunk::<PREFIX_BYTES>()?;
    let end = PREFIX_BYTES + u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (body.len() >= end).then_some(end)
}

#[cfg(test)]
mod tests;
