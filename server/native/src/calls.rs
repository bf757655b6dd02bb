//! One HTTP request: is it a call, and of which kind. And what gRPC's answers look like.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Request, Response, StatusCode};

use crate::answers::{Answers, Failure};
use crate::arrivals::{Arrivals, Refusal};
use crate::aside::Aside;
use crate::framing::{Flaw, Packed};
use crate::incoming::Incoming;
use crate::inflations::Inflations;
use crate::metadata::{Metadata, Patience, encoding};
use crate::peers::Peer;
use crate::refusals::Refusals;
use crate::rest::{self, JsonForm};
use crate::rooms::{Held, Room, Rooms};
use crate::streams;
use crate::tokens::Tokens;
use crate::unary::{self, Form};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, identity");

/// What calls share: what they may be, and the way to Python and back.
pub struct Service {
    /// By path: the place in Python's list, and what it is.
    pub methods: HashMap<String, (usize, Kind)>,
    /// Of those that can be called with JSON, by that place.
    pub json_forms: HashMap<usize, JsonForm>,
    pub message_limit_bytes: usize,
    /// How many streams a caller's connection may have, and how many bytes of headers a request.
    pub of_connection: (u32, u32),
    /// How long a call may take, at most.
    pub call_timeout_seconds: f64,
    pub patience: Patience,
    pub arrivals: Arrivals,
    pub answers: Answers,
    pub tokens: Mutex<Tokens>,
    pub refusals: Refusals,
    /// What requests have that come in pieces.
    pub rooms: Rooms,
    /// What long answers have that their callers have not taken.
    pub unsent: Rooms,
    /// For how long a caller may take nothing of one.
    pub standstill: Duration,
    /// What was decompressed for those who are not known.
    pub inflations: Inflations,
    /// Where long bodies are read.
    pub aside: Aside,
}

impl Service {
    /// A compressed message as it was before, once there is room for so many bytes; None where the stream is over. Unless
    /// its caller is known, it waits for its turn, and counts.
    pub async fn unpack(
        &self,
        message: Packed,
        bytes: usize,
        held: &mut Held,
        known: bool,
    ) -> Option<Result<Bytes, Flaw>> {
        let most = self.message_limit_bytes;
        if !known {
            self.inflations.turn(most).await;
        }
        held.widen(bytes).await?;
        let unpacked = self.aside.unpack(message).await?;
        if !known {
            self.inflations.note(&unpacked, most);
        }
        Some(unpacked)
    }
}

/// What the calls of a connection share.
pub struct Shared {
    /// What is left for requests that come in pieces, in bytes, where that is counted by connections.
    pub room: Option<Arc<Room>>,
    given_up: AtomicU32,
}

impl Shared {
    pub fn new(room_bytes: Option<usize>) -> Self {
        Self { room: room_bytes.map(Room::new), given_up: AtomicU32::new(0) }
    }

    /// The caller has given a call up.
    pub fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls it has given up since this was asked.
    pub fn take_given_up(&self) -> u32 {
        self.given_up.swap(0, Ordering::Relaxed)
    }
}

/// What kind of method one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unary, and its calls wait for their turn.
    InTurn,
    /// As `InTurn`, and those of one caller are carried out together.
    Gathered,
    /// Unary, and everybody may call it at once.
    Express,
    Stream,
}

/// The call is over: nobody waits for its answer.
pub struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Gone
    }
}

/// Serve one request, in a task of its own.
pub fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    service: &Arc<Service>,
    shared: &Arc<Shared>,
    peer: &Peer,
) {
    let (parts, body) = request.into_parts();
    let found = service.methods.get(parts.uri.path()).copied();
    let (service, shared) = (Arc::clone(service), Arc::clone(shared));
    if let (Some((method, kind)), true) = (found, rest::is_call(&parts, peer))
        && service.json_forms.contains_key(&method)
    {
        let request = unary::Request { body, form: Form::Json, origin: peer.origin(&parts.headers), shared };
        let metadata = Metadata::read(&parts.headers, peer);
        tokio::spawn(unary::serve(method, kind, metadata, request, respond, service));
        return;
    }
    if parts.method != Method::POST || !is_grpc(&parts.headers) {
        refuse_media_type(&mut respond);
        return;
    }
    let mut metadata = Metadata::read(&parts.headers, peer);
    let trailers = parts.headers.get(TE).is_some_and(|value| value == "trailers");
    match found {
        None => {
            tokio::spawn(unary::refuse(respond, None, metadata, Refusal::NoSuchMethod, (service, shared)));
        }
        Some((method, _)) if !trailers => {
            tokio::spawn(unary::refuse(respond, Some(method), metadata, Refusal::NoTrailers, (service, shared)));
        }
        Some((method, Kind::Stream)) => {
            let origin = peer.origin(&parts.headers).address();
            let incoming = Incoming::new((body, encoding(&parts.headers)), origin, (&service, &shared));
            tokio::spawn(streams::serve(method, metadata, incoming, respond, (service, shared)));
        }
        Some((method, kind)) => {
            if kind == Kind::Express {
                metadata.note_address(&parts.headers, peer);
            }
            let (form, origin) = (Form::Grpc(encoding(&parts.headers)), peer.origin(&parts.headers));
            let request = unary::Request { body, form, origin, shared };
            tokio::spawn(unary::serve(method, kind, metadata, request, respond, service));
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == GRPC || value == "application/grpc+proto")
}

fn refuse_media_type(respond: &mut SendResponse<Bytes>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    // Where it cannot be sent, nobody waits for it.
    let _ = respond.send_response(response, true);
}

/// Begin an answer.
pub fn start(respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, Gone> {
    Ok(respond.send_response(response(HeaderMap::with_capacity(2)), false)?)
}

/// End an answer that has begun with OK.
pub fn end(sending: &mut SendStream<Bytes>) -> Result<(), Gone> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    Ok(sending.send_trailers(trailers)?)
}

/// Answer with a failure alone.
pub fn fail(respond: &mut SendResponse<Bytes>, failure: &Failure) -> Result<(), Gone> {
    respond.send_response(response(failure.trailers.clone()), true)?;
    Ok(())
}

fn response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(GRPC_ACCEPT_ENCODING, ENCODINGS);
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}
