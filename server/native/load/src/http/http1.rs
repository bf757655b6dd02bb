//! Client side of an HTTP/1.1 connection (RFC 9112), with one call at a time.

/// Maximum number of headers in a response.
const MOST_HEADERS: usize = 64;

/// A response: the tag of its call, its status and its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub tag: u64,
    pub status: u16,
    pub body: Vec<u8>,
}

pub struct Http1 {
    head: String,
    out: Vec<u8>,
    incoming: Vec<u8>,
    tag: Option<u64>,
    is_leaving: bool,
}

impl Http1 {
    /// A connection whose requests all have this path and these header fields.
    pub fn new(path: &str, fields: &[(String, String)]) -> Self {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self { head, out: Vec::new(), incoming: Vec::new(), tag: None, is_leaving: false }
    }

    /// The bytes to be written.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The tag of the call in flight.
    pub fn tag(&self) -> Option<u64> {
        self.tag
    }

    /// Abandons the call; the connection cannot be reused, since its answer would be taken for the next one's.
    pub fn give_up(&mut self) -> Option<u64> {
        self.is_leaving = true;
        self.tag.take()
    }

    /// Whether no more calls can be made on the connection.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Starts a call.
    pub fn begin(&mut self, tag: u64, body: &[u8]) {
        self.tag = Some(tag);
        self.out.extend_from_slice(self.head.as_bytes());
        self.out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        self.out.extend_from_slice(body);
    }

    /// Processes received bytes; returns the response once it is complete. An error says what the peer did wrong.
    pub fn receive(&mut self, data: &[u8]) -> Result<Option<Answer>, String> {
        self.incoming.extend_from_slice(data);
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let start = match response.parse(&self.incoming) {
            Ok(httparse::Status::Complete(start)) => start,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("an answer is no HTTP/1.1: {error}")),
        };
        let status = response.code.unwrap_or(0);
        let value = |name: &str| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
        };
        let is_chunked = value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        let closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let content = &self.incoming[start..];
        let body = if is_chunked {
            chunked(content)?
        } else {
            let length = value("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            content.get(..length.ok_or("an answer does not say how long it is")?).map(<[u8]>::to_vec)
        };
        let Some(body) = body else { return Ok(None) };
        self.is_leaving |= closes;
        self.incoming.clear();
        let tag = self.tag.take().ok_or("an answer came to no call")?;
        Ok(Some(Answer { tag, status, body }))
    }
}

/// Decodes a chunked body; None while it is incomplete. Trailers are not expected.
fn chunked(mut content: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(content) {
            Ok(httparse::Status::Complete((start, size))) => (start, size as usize),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk of an answer has no size".into()),
        };
        let Some(chunk) = content.get(start..start.saturating_add(size).saturating_add(2)) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(Some(body));
        }
        content = &content[start + size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Http1 {
        let mut connection = Http1::new("/path", &[("authorization".into(), "token".into())]);
        connection.begin(7, b"body");
        connection
    }

    #[test]
    fn a_call_has_head_and_body() {
        let head = "POST /path HTTP/1.1\r\nhost: bench\r\nauthorization: token\r\ncontent-length: 4\r\n\r\nbody";
        assert_eq!(sent().out(), head.as_bytes());
    }

    #[test]
    fn an_answer_may_come_in_any_parts() {
        for text in [
            b"HTTP/1.1 503 No\r\ncontent-length: 5\r\nConnection: close\r\n\r\nlater".as_slice(),
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nconnection: Close\r\n\r\n3\r\nlat\r\n2\r\ner\r\n0\r\n\r\n",
        ] {
            for cut in 0..text.len() {
                let mut connection = sent();
                assert_eq!(connection.receive(&text[..cut]), Ok(None));
                let answer = Answer { tag: 7, status: 503, body: b"later".into() };
                assert_eq!(connection.receive(&text[cut..]), Ok(Some(answer)));
                assert!(connection.is_leaving());
                assert_eq!(connection.tag(), None);
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (text, problem) in [
            (b"HTTP/2 200 OK\r\n\r\n".as_slice(), "an answer is no HTTP/1.1: invalid HTTP version"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "an answer does not say how long it is"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "a chunk of an answer has no size"),
        ] {
            assert_eq!(sent().receive(text), Err(problem.into()));
        }
    }
}
