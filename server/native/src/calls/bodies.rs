//! What comes of a unary call: its only message, or its text. One that comes in pieces has room in memory
//! (`bounds/rooms.rs`) before it is read on.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use crate::bounds::Held;
use crate::calls::incoming::{Message, Trouble};
use crate::calls::service::Service;
use crate::grpc::{Encoding, Flaw, Messages, only_message};

/// The only message of a request, and what it holds of the room where it has come in pieces.
pub async fn read(
    body: &mut RecvStream,
    room: impl FnOnce() -> Held,
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
    let mut held = room();
    let mut next = Some(first);
    while let Some(data) = next {
        messages.push(&data);
        if let Some(bytes) = messages.announced() {
            held.reserve(bytes).await.ok_or(Trouble::Gone)?;
        }
        held.count(data.len()).await.ok_or(Trouble::Gone)?;
        while let Some(message) = messages.next()? {
            let message = match message.inflating() {
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

/// A body that is no gRPC message, and what the request holds of the room where it has come in pieces.
pub async fn read_text(body: &mut RecvStream, room: impl FnOnce() -> Held, limit: usize) -> Result<Message, Trouble> {
    let mut text = next_data(body).await?.unwrap_or_default();
    let mut held = None;
    if !body.is_end_stream() {
        let mut holding = room();
        holding.count(text.len()).await.ok_or(Trouble::Gone)?;
        let mut whole = BytesMut::from(text);
        while let Some(data) = next_data(body).await? {
            whole.extend_from_slice(&data);
            if whole.len() > limit {
                return Err(Flaw::TooLong(whole.len()).into());
            }
            holding.count(data.len()).await.ok_or(Trouble::Gone)?;
        }
        (text, held) = (whole.freeze(), Some(holding));
    }
    Ok((text, held))
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
