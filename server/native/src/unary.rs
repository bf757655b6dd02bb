//! Unary calls: read whole, handed over, answered.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::answers::{Answer, Listener};
use crate::arrivals::{Event, Refusal, Wait};
use crate::call::{CallId, UnaryCall};
use crate::calls::{Gone, Kind, Service, Shared, end, fail, start};
use crate::framing::{Encoding, Flaw, Messages, only_message};
use crate::incoming::{Message, Trouble};
use crate::locks::lock;
use crate::metadata::Metadata;
use crate::outgoing::send_all;
use crate::peers::Origin;
use crate::rest::{self, JsonForm};
use crate::rooms::Held;
use crate::tokens::Who;
use crate::waiting::Impatience;

/// The form of a request and of its answer.
#[derive(Clone, Copy)]
pub enum Form {
    /// With its messages compressed in this way, where they are.
    Grpc(Encoding),
    /// As the method's `JsonForm` says.
    Json,
}

/// What is to be read of a call.
pub struct Request {
    pub body: RecvStream,
    pub form: Form,
    pub origin: Origin,
    pub shared: Arc<Shared>,
}

/// Serve a call of a unary method of this kind.
pub async fn serve(
    method: usize,
    kind: Kind,
    mut metadata: Box<Metadata>,
    request: Request,
    mut respond: SendResponse<Bytes>,
    service: Arc<Service>,
) {
    let until = Instant::from_std(metadata.receive_until(service.call_timeout_seconds));
    let Request { mut body, form, origin, shared } = request;
    let limit = service.message_limit_bytes;
    let room = || service.rooms.hold(shared.room.as_ref(), origin.address());
    let reading = async {
        match form {
            Form::Json => read_text(&mut body, room, limit).await,
            Form::Grpc(encoding) => {
                let known = encoding != Encoding::Other && is_known(kind, &metadata, &service);
                read(&mut body, room, encoding, &service, known).await
            }
        }
    };
    // What the request holds of the room, it holds until it is answered.
    let read = tokio::select! {
        biased;
        read = timeout_at(until, reading) => read,
        _ = poll_fn(|context| respond.poll_reset(context)) => return shared.give_up(),
    };
    let json = match form {
        Form::Json => service.json_forms.get(&method),
        Form::Grpc(_) => None,
    };
    if let (Some(json), true) = (json, Instant::now() > until) {
        // It is the sender who was slow: the gateway says so too.
        let _ = rest::fail(&json.too_slow, &mut respond);
        return;
    }
    let (message, _held) = match read {
        Ok(Ok((message, held))) => (Ok(message), held),
        Ok(Err(Trouble::Flaw(flaw))) => (Err(flaw), None),
        Ok(Err(Trouble::Gone)) => return shared.give_up(),
        Err(_) => {
            let late = |id| Event::Refused { id, method: Some(method), metadata, why: Refusal::NotReceived };
            return Box::pin(tell(json, late, &mut respond, &origin, (&service, &shared))).await;
        }
    };
    let message = match (message, json) {
        (Ok(body), Some(json)) => {
            metadata.body_bytes = body.len() as u64;
            let reader = Arc::clone(&json.reader);
            let Some(read) = service.aside.run(body.len(), move || reader.read(&body)).await else { return };
            match read {
                Ok(message) => Ok(message.into()),
                Err(text) => {
                    let misread = |id| Event::Misread { id, method, metadata, text };
                    return Box::pin(tell(Some(json), misread, &mut respond, &origin, (&service, &shared))).await;
                }
            }
        }
        (message, _) => message,
    };
    let (answer, answered) = oneshot::channel();
    let id = service.answers.listen(Listener::Unary(answer));
    let in_turn = kind != Kind::Express;
    let who = if in_turn { lock(&service.tokens).find(metadata.authorization(), metadata.came) } else { None };
    let until = metadata.wait_until(service.call_timeout_seconds, service.patience);
    let wait = match who {
        Some(Who::Member(member)) => Wait::Turn(Some(member), until),
        None if in_turn => Wait::Turn(None, until),
        Some(Who::Admin) | None => Wait::Express,
    };
    let known = who.is_some() || !in_turn;
    let call = UnaryCall { id, method, metadata, message, known, gathered: kind == Kind::Gathered };
    if let Some(refused) = service.arrivals.add_call(call, wait) {
        service.refusals.refuse(refused, Impatience::Full, &service.answers);
    }
    finish((id, wait), answered, json, &mut respond, &origin, (&service, &shared)).await;
}

/// Have Python refuse a call, in its words.
pub async fn refuse(
    mut respond: SendResponse<Bytes>,
    method: Option<usize>,
    metadata: Box<Metadata>,
    why: Refusal,
    (service, shared): (Arc<Service>, Arc<Shared>),
) {
    let refused = |id| Event::Refused { id, method, metadata, why };
    tell(None, refused, &mut respond, &Origin::Told(None), (&service, &shared)).await;
}

/// Tell Python why there is no call, for its words.
async fn tell(
    json: Option<&JsonForm>,
    event: impl FnOnce(CallId) -> Event,
    respond: &mut SendResponse<Bytes>,
    origin: &Origin,
    (service, shared): (&Service, &Shared),
) {
    let (answer, answered) = oneshot::channel();
    let id = service.answers.listen(Listener::Unary(answer));
    service.arrivals.add_event(event(id));
    finish((id, Wait::Express), answered, json, respond, origin, (service, shared)).await;
}

/// Wait for the answer and send it, or tell Python that nobody waits for it.
async fn finish(
    (id, wait): (CallId, Wait),
    answered: oneshot::Receiver<Answer>,
    json: Option<&JsonForm>,
    respond: &mut SendResponse<Bytes>,
    origin: &Origin,
    (service, shared): (&Service, &Shared),
) {
    tokio::select! {
        biased;
        answer = answered => {
            // Where it cannot be sent, nobody waits for it. Where Python has none, the stream is reset.
            let _ = match (answer, json) {
                (Err(_), _) => Err(Gone),
                (Ok(answer), None) => send(answer, respond, origin, service).await,
                (Ok(answer), Some(json)) => rest::send(json, answer, respond, origin, service).await,
            };
        }
        _ = poll_fn(|context| respond.poll_reset(context)) => {
            shared.give_up();
            if service.answers.forget(id) && !service.arrivals.forget(id, wait) {
                service.arrivals.add_event(Event::Gone { id });
            }
        }
    }
}

async fn send(
    answer: Answer,
    respond: &mut SendResponse<Bytes>,
    origin: &Origin,
    service: &Service,
) -> Result<(), Gone> {
    match answer {
        Answer::Message(message) => {
            let mut sending = start(respond)?;
            send_all(message, false, &mut sending, origin, service).await?;
            end(&mut sending)
        }
        Answer::Failure(failure) => fail(respond, &failure),
    }
}

/// Whether a call is one of a caller that is known, before anybody looks at it.
fn is_known(kind: Kind, metadata: &Metadata, service: &Service) -> bool {
    kind != Kind::Express && lock(&service.tokens).find(metadata.authorization(), metadata.came).is_some()
}

/// The only message of a request, and what it holds of the room where it has come in pieces.
async fn read(
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
async fn read_text(body: &mut RecvStream, room: impl FnOnce() -> Held, limit: usize) -> Result<Message, Trouble> {
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
