//! Dispatches an HTTP request: whether it is a call, and of which kind.

use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, TE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use crate::calls::incoming::Incoming;
use crate::calls::outgoing::{MEDIA_TYPE, Piece};
use crate::calls::rest::Reply;
use crate::calls::service::{Kind, Method as ServiceMethod, Service, Shared};
use crate::calls::unary::{self, Form, discard};
use crate::calls::{rest, streams};
use crate::grpc::{Metadata, Peer, encoding};
use crate::handover::{Event, Refusal};

/// Set by the gateway on calls that it passes on (`transport/rest.py`), with a method's path. Other JSON with such a
/// path is refused, as on the other hosts.
const PASSED_ON: HeaderValue = HeaderValue::from_static("application/x-passed-on+json");

/// Serves a request, in a task of its own.
pub fn serve(request: Request<RecvStream>, mut respond: SendResponse<Piece>, shared: &Arc<Shared>, peer: &Peer) {
    let (parts, body) = request.into_parts();
    let (service, shared) = (&shared.service, Arc::clone(shared));
    let found = service.methods.get(parts.uri.path()).copied();
    if let (Some(method), true) = (found, is_passed_on(&parts, peer))
        && service.json_forms.contains_key(&method.number)
    {
        serve_rest(method, &parts.headers, body, respond, shared, peer);
        return;
    }
    if parts.method != Method::POST || !is_grpc(&parts.headers) {
        let found = find_rest(&parts, peer, service);
        if found.is_some() && waits_to_send(&parts.headers) {
            have_it_sent(&mut respond);
        }
        match found {
            Some(Found::Call(method)) => serve_rest(method, &parts.headers, body, respond, shared, peer),
            Some(Found::Elsewhere(method)) => {
                let metadata = rest_metadata(&parts.headers, &shared, peer);
                let why = Refusal::ForGateway;
                tokio::spawn(refuse_rest(method, parts.method, metadata, body, respond, shared, why));
            }
            None => refuse_media_type(&mut respond),
        }
        return;
    }
    let mut metadata = Metadata::read(&parts.headers, peer);
    let trailers = parts.headers.get(TE).is_some_and(|value| value == "trailers");
    match found {
        None => {
            tokio::spawn(unary::refuse(respond, None, metadata, Refusal::NoSuchMethod, shared));
        }
        Some(method) if !trailers => {
            tokio::spawn(unary::refuse(respond, Some(method), metadata, Refusal::NoTrailers, shared));
        }
        Some(method) if method.kind == Kind::Stream => {
            let origin = peer.origin(&parts.headers).address();
            let incoming = Incoming::new(body, encoding(&parts.headers), origin, Arc::clone(&shared));
            tokio::spawn(streams::serve(method, metadata, incoming, respond, shared));
        }
        Some(method) => {
            if method.kind == Kind::Express {
                metadata.note_address(&parts.headers, peer);
            }
            let (form, origin) = (Form::Grpc(encoding(&parts.headers)), peer.origin(&parts.headers));
            let request = unary::Request { body, form, origin };
            tokio::spawn(unary::serve(method, metadata, request, respond, shared));
        }
    }
}

/// What a request to a port is, if its path is that of a REST method.
enum Found {
    Call(ServiceMethod),
    /// Another HTTP method, or with parameters.
    Elsewhere(ServiceMethod),
}

/// The REST method that a request on a port is for.
fn find_rest(request: &Parts, peer: &Peer, service: &Service) -> Option<Found> {
    let method = match peer {
        Peer::Gateway => return None,
        Peer::Caller(..) => *service.rest_methods.get(request.uri.path())?,
    };
    let is_call = request.method == Method::POST && request.uri.query().is_none_or(str::is_empty);
    Some(if is_call { Found::Call(method) } else { Found::Elsewhere(method) })
}

/// Whether a request is a REST call passed on by the gateway.
fn is_passed_on(request: &Parts, peer: &Peer) -> bool {
    matches!(peer, Peer::Gateway)
        && request.method == Method::POST
        && request.headers.get(CONTENT_TYPE).is_some_and(|value| value == PASSED_ON)
}

/// Tells a caller who waits for it to send the body.
fn have_it_sent(respond: &mut SendResponse<Piece>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    // Sending fails only if the caller has gone.
    let _ = respond.send_informational(response);
}

/// Serves a REST call, passed on by the gateway or on a port.
fn serve_rest(
    method: ServiceMethod,
    headers: &HeaderMap,
    body: RecvStream,
    respond: SendResponse<Piece>,
    shared: Arc<Shared>,
    peer: &Peer,
) {
    let metadata = rest_metadata(headers, &shared, peer);
    if method.kind != Kind::Express && metadata.authorization().is_empty() {
        let why = Refusal::NoCredential;
        tokio::spawn(refuse_rest(method, Method::POST, metadata, body, respond, shared, why));
        return;
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let request = unary::Request { body, form: Form::Json { announced }, origin: peer.origin(headers) };
    tokio::spawn(unary::serve(method, metadata, request, respond, shared));
}

fn rest_metadata(headers: &HeaderMap, shared: &Shared, peer: &Peer) -> Box<Metadata> {
    let metadata = Metadata::read(headers, peer);
    if metadata.by_gateway {
        return metadata;
    }
    metadata.of_rest_call(shared.service.request_ids.own_or_new(headers))
}

/// Refuses a request that no body can make valid, once its body has come.
async fn refuse_rest(
    method: ServiceMethod,
    http_method: Method,
    metadata: Box<Metadata>,
    mut body: RecvStream,
    mut respond: SendResponse<Piece>,
    shared: Arc<Shared>,
    why: Refusal,
) {
    let service = &*shared.service;
    let Some(form) = service.json_forms.get(&method.number) else { return };
    let most = Duration::try_from_secs_f64(service.call_timeout_seconds).unwrap_or_default();
    // After that time, the sender is told what it would be told anyway.
    let _ = timeout(most, discard(&mut body, service.message_limit_bytes)).await;
    let failure = if matches!(why, Refusal::NoCredential) { &form.no_credential } else { &form.elsewhere };
    let reply = Reply { form, request_id: metadata.response_id() };
    // Before the answer: a report that the caller asks for afterwards shall have it.
    service.arrivals.add_event(Event::Noted { method: method.number, metadata, why });
    // Sending fails only if the caller has gone.
    let _ = rest::refuse(&reply, failure, &http_method, &mut respond);
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == MEDIA_TYPE || value == "application/grpc+proto")
}

/// Whether the caller sends the body only once it is told to (RFC 9110, section 10.1.1).
fn waits_to_send(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn refuse_media_type(respond: &mut SendResponse<Piece>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    // Sending fails only if the caller has gone.
    let _ = respond.send_response(response, true);
}
