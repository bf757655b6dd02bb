//! Reads the body of a unary call. One that arrives in several pieces reserves memory (`bounds/memory_budget.rs`)
//! before it is read on.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use crate::bounds::Reservation;
use crate::calls::incoming::{Message, Trouble};
use crate::calls::service::Service;
use crate::grpc::{Encoding, Flaw, Messages, only_message};

/// How many times as many bytes as have come may be allocated.
const WIDENED: usize = 4;

/// Reads a request's only message. It comes with a memory reservation if it arrived in several pieces.
pub async fn read(
    body: &mut RecvStream,
    reserve: impl FnOnce() -> Reservation,
    encoding: Encoding,
    service: &Service,
    known: bool,
) -> Result<Message, Trouble> {
    let limit = service.message_limit_bytes;
    let Some(first) = next_data(body).await? else { return Err(Flaw::Missing.into()) };
    if let (true, Some(message)) = (body.is_end_stream(), only_message(&first, limit)) {
        return Ok((message, None));
    }
    let mut messages = Messages::new(encoding, limit);
    let mut found = None;
    let mut held = reserve();
    let mut next = Some(first);
    while let Some(data) = next {
        messages.push(&data);
        if let Some(bytes) = messages.announced() {
            held.reserve(bytes).await.ok_or(Trouble::Gone)?;
        }
        held.count(data.len()).await.ok_or(Trouble::Gone)?;
        while let Some(message) = messages.next()? {
            let message = match message.decompression_bytes() {
                Some(bytes) => service.unpack(message, bytes, &mut held, known).await.ok_or(Trouble::Gone)??,
                None => message.unpack(limit)?,
            };
            if found.replace(message).is_some() {
                return Err(Flaw::Several.into());
            }
        }
        next = next_data(body).await?;
    }
    messages.finish()?;
    let message = found.ok_or(Flaw::Missing)?;
    held.settle(message.len()).await.ok_or(Trouble::Gone)?;
    Ok((message, Some(held)))
}

/// Reads a body that is not gRPC framed, of which `announced` bytes were announced. It comes with a memory reservation
/// if it arrived in several pieces. One over the limit is awaited if it has no more than `most` bytes (see `discard`).
pub async fn read_text(
    body: &mut RecvStream,
    announced: Option<usize>,
    reserve: impl FnOnce() -> Reservation,
    limit: usize,
    most: usize,
) -> Result<Message, Trouble> {
    let mut text = next_data(body).await?.unwrap_or_default();
    let mut held = None;
    if !body.is_end_stream() {
        let mut holding = reserve();
        let expected = announced.map_or(limit, |bytes| bytes.min(limit));
        holding.reserve(expected).await.ok_or(Trouble::Gone)?;
        holding.count(text.len()).await.ok_or(Trouble::Gone)?;
        let mut whole = BytesMut::from(text);
        while let Some(data) = next_data(body).await? {
            grow(&mut whole, data.len(), expected);
            whole.extend_from_slice(&data);
            if whole.len() > limit {
                let left = most.saturating_sub(whole.len());
                drop((whole, holding));
                discard(body, left).await;
                return Err(Flaw::BodyTooLong.into());
            }
            holding.count(data.len()).await.ok_or(Trouble::Gone)?;
        }
        holding.shrink(whole.len());
        (text, held) = (whole.freeze(), Some(holding));
    }
    Ok((text, held))
}

/// Allocates memory for more of a body, and for what is expected after it, as far as that is not far more than has
/// come.
fn grow(whole: &mut BytesMut, more: usize, expected: usize) {
    if whole.capacity() - whole.len() < more {
        let size = expected.min(WIDENED * (whole.len() + more));
        whole.reserve(size.saturating_sub(whole.len()).max(more));
    }
}

/// Reads and drops what is left of a body, or this many bytes of it. Many clients do not see a response that comes
/// while they send.
pub async fn discard(body: &mut RecvStream, most: usize) {
    let mut left = most;
    while let Ok(Some(data)) = next_data(body).await {
        let Some(rest) = left.checked_sub(data.len()) else { return };
        left = rest;
    }
}

async fn next_data(body: &mut RecvStream) -> Result<Option<Bytes>, Trouble> {
    match body.data().await {
        None => Ok(None),
        Some(data) => {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            Ok(Some(data))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use http::Request;
    use tokio::io::duplex;
    use tokio::runtime::Builder;

    use super::*;

    const LIMIT: usize = 1024 * 1024;

    /// What comes of a request that is sent in these pieces.
    async fn body(pieces: &[&[u8]]) -> Result<RecvStream, Box<dyn Error>> {
        let (here, there) = duplex(64 * 1024);
        let (caller, server) = tokio::join!(h2::client::handshake(there), h2::server::handshake(here));
        let ((mut requests, connection), mut server) = (caller?, server?);
        tokio::spawn(connection);
        let (_, mut sending) = requests.send_request(Request::post("http://here/").body(())?, false)?;
        for (place, piece) in pieces.iter().enumerate() {
            sending.send_data(Bytes::copy_from_slice(piece), place + 1 == pieces.len())?;
        }
        let (request, respond) = server.accept().await.ok_or("no request")??;
        tokio::spawn(async move {
            let _open = (requests, respond);
            server.accept().await.is_some()
        });
        Ok(request.into_body())
    }

    fn message(flag: u8, content: &[u8]) -> Vec<u8> {
        let [.., high, middle, low] = content.len().to_be_bytes();
        [&[flag, 0, high, middle, low], content].concat()
    }

    #[test]
    fn what_comes_in_pieces_is_counted_as_it_comes_and_as_it_becomes() -> Result<(), Box<dyn Error>> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&[b'x'; 5000])?;
        let (plain, packed) = (message(0, &[b'x'; 5000]), message(1, &packed.finish()?));
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let service = Service::without_methods()?;
            let reserve = || service.budgets.hold(None, None);
            for (sent, at_once, counted) in
                [(&plain, 9000, None), (&plain, 2000, Some(5005)), (&packed, 10, Some(5000))]
            {
                let pieces: Vec<_> = sent.chunks(at_once).collect();
                let read = read(&mut body(&pieces).await?, reserve, Encoding::Gzip, &service, true).await;
                let Ok((message, held)) = read else { return Err("it is not read".into()) };
                assert_eq!((message, held.map(|held| held.counted())), (vec![b'x'; 5000].into(), counted));
            }
            for (pieces, counted) in [(&[&b"{}"[..]][..], None), (&[b"{ ", b"   ", b"}"], Some(6))] {
                let read = read_text(&mut body(pieces).await?, None, reserve, LIMIT, LIMIT).await;
                let Ok((text, held)) = read else { return Err("it is not read".into()) };
                assert_eq!((text, held.map(|held| held.counted())), (pieces.concat().into(), counted));
            }
            Ok(())
        })
    }

    #[test]
    fn what_is_left_is_dropped_up_to_so_many_bytes() -> Result<(), Box<dyn Error>> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            for (most, left) in
                [(9, None), (8, None), (7, Some("i")), (4, Some("i")), (3, Some("efgh")), (0, Some("efgh"))]
            {
                let mut body = body(&[b"abcd", b"efgh", b"i"]).await?;
                discard(&mut body, most).await;
                let next = next_data(&mut body).await;
                assert!(matches!(next, Ok(next) if next.as_deref() == left.map(str::as_bytes)));
            }
            Ok(())
        })
    }

    #[test]
    fn what_is_announced_of_a_text_has_room_as_far_as_it_comes() {
        let mut whole = BytesMut::from(&[0; 100][..]);
        grow(&mut whole, 100, LIMIT);
        assert!((800..LIMIT).contains(&whole.capacity()));
        grow(&mut whole, 100, LIMIT);
        assert!((800..LIMIT).contains(&whole.capacity())); // there was memory
        grow(&mut whole, 10_000, 0);
        assert!(whole.capacity() >= 10_100);
    }

    #[test]
    fn a_text_may_be_as_long_as_the_limit() -> Result<(), Box<dyn Error>> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let service = Service::without_methods()?;
            for (limit, fits) in [(5, false), (6, true)] {
                let reserve = || service.budgets.hold(None, None);
                let read = read_text(&mut body(&[b"{  ", b"  }"]).await?, None, reserve, limit, limit).await;
                assert!(matches!((read, fits), (Ok(_), true) | (Err(Trouble::Flaw(Flaw::BodyTooLong)), false)));
            }
            Ok(())
        })
    }
}
