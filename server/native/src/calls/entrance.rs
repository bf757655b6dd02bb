//! Dispatches an HTTP request: whether it is a call, and of which kind.

use std::sync::Arc;

use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderMap, TE};
use http::{Method, Request, Response, StatusCode};

use crate::bounds::Piece;
use crate::calls::incoming::Incoming;
use crate::calls::methods::Kind;
use crate::calls::service::Shared;
use crate::calls::unary::{self, Form};
use crate::calls::{rest, streams};
use crate::grpc::{MEDIA_TYPE, Metadata, encoding};
use crate::handover::Refusal;
use crate::peers::Peer;

/// Serves a request, in a task of its own.
pub fn serve(request: Request<RecvStream>, mut respond: SendResponse<Piece>, shared: &Arc<Shared>, peer: &Peer) {
    let (parts, body) = request.into_parts();
    let (service, shared) = (&shared.service, Arc::clone(shared));
    let found = service.methods.get(parts.uri.path()).copied();
    if let (Some(method), true) = (found, rest::is_call(&parts, peer))
        && service.json_forms.contains_key(&method.number)
    {
        let request = unary::Request { body, form: Form::Json, origin: peer.origin(&parts.headers) };
        let metadata = Metadata::read(&parts.headers, peer);
        tokio::spawn(unary::serve(method, metadata, request, respond, shared));
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

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == MEDIA_TYPE || value == "application/grpc+proto")
}

fn refuse_media_type(respond: &mut SendResponse<Piece>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    // Sending fails only if the caller has gone.
    let _ = respond.send_response(response, true);
}
