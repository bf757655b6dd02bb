//! REST calls that the gateway passes on untranscoded, or that come to a port: which requests these are, and their JSON
//! responses.

use std::sync::Arc;
use std::time::SystemTime;

use h2::SendStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use httpdate::fmt_http_date;

use crate::bounds::Piece;
use crate::calls::methods::{JsonForm, Method as ServiceMethod};
use crate::calls::outgoing::send_all;
use crate::calls::request_ids::REQUEST_ID;
use crate::calls::service::{Service, Shared};
use crate::grpc::{Gone, PREFIX_BYTES};
use crate::handover::{Answer, Failure};
use crate::peers::{Origin, Peer};

/// Set by the gateway on calls that it passes on (`transport/rest.py`), with a method's path. Other JSON with such a
/// path is refused, as on the other hosts.
const PASSED_ON: HeaderValue = HeaderValue::from_static("application/x-passed-on+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the caller of a REST call is answered.
pub struct Reply<'a> {
    pub form: &'a JsonForm,
    /// The response's request ID. None for a call that the gateway has passed on: it adds the ID and the date itself,
    /// and removes what is for it alone.
    pub request_id: Option<HeaderValue>,
}

/// What a request to a port is, if its path is that of a REST method.
pub enum Found {
    Call(ServiceMethod),
    /// Another HTTP method, or with parameters.
    Elsewhere(ServiceMethod),
}

/// The REST method that a request on a port is for.
pub fn find(request: &Parts, peer: &Peer, service: &Service) -> Option<Found> {
    let method = match peer {
        Peer::Gateway => return None,
        Peer::Caller(..) => *service.rest_methods.get(request.uri.path())?,
    };
    let is_call = request.method == Method::POST && request.uri.query().is_none_or(str::is_empty);
    Some(if is_call { Found::Call(method) } else { Found::Elsewhere(method) })
}

/// Whether a request is a REST call passed on by the gateway.
pub fn is_passed_on(request: &Parts, peer: &Peer) -> bool {
    matches!(peer, Peer::Gateway)
        && request.method == Method::POST
        && request.headers.get(CONTENT_TYPE).is_some_and(|value| value == PASSED_ON)
}

/// Tells a caller who waits for it to send the body.
pub fn have_it_sent(respond: &mut SendResponse<Piece>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    // Sending fails only if the caller has gone.
    let _ = respond.send_informational(response);
}

/// Sends an answer as JSON.
pub async fn send(
    reply: &Reply<'_>,
    answer: Answer,
    respond: &mut SendResponse<Piece>,
    origin: &Origin,
    shared: &Shared,
) -> Result<(), Gone> {
    match answer {
        Answer::Message(framed) => {
            let (writer, bytes) = (Arc::clone(&reply.form.writer), framed.len());
            let write = move || writer.write(framed.get(PREFIX_BYTES..).unwrap_or_default());
            let body = shared.service.background.run(bytes, write).await.ok_or(Gone)?.map_err(|_| Gone)?;
            let mut sending = start(reply, respond, StatusCode::OK, HeaderMap::with_capacity(4), body.len())?;
            send_all(body.into(), true, &mut sending, origin, shared).await
        }
        Answer::Failure(failure) => fail(reply, &failure, respond),
    }
}

/// Sends a failure as JSON.
pub fn fail(reply: &Reply<'_>, failure: &Failure, respond: &mut SendResponse<Piece>) -> Result<(), Gone> {
    let body = failure.body.clone();
    let mut sending = start(reply, respond, failure.status, failure.headers.clone(), body.len())?;
    Ok(sending.send_data(body.into(), true)?)
}

/// As `fail`, for a request with any HTTP method. The response to HEAD has no body: clients take one for a fault of the
/// connection.
pub fn refuse(
    reply: &Reply<'_>,
    failure: &Failure,
    method: &Method,
    respond: &mut SendResponse<Piece>,
) -> Result<(), Gone> {
    if method != Method::HEAD {
        return fail(reply, failure, respond);
    }
    let response = response(reply, failure.status, failure.headers.clone(), failure.body.len());
    respond.send_response(response, true)?;
    Ok(())
}

fn start(
    reply: &Reply<'_>,
    respond: &mut SendResponse<Piece>,
    status: StatusCode,
    headers: HeaderMap,
    body_bytes: usize,
) -> Result<SendStream<Piece>, Gone> {
    Ok(respond.send_response(response(reply, status, headers, body_bytes), false)?)
}

fn response(reply: &Reply<'_>, status: StatusCode, mut headers: HeaderMap, body_bytes: usize) -> Response<()> {
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body_bytes));
    if let Some(request_id) = &reply.request_id {
        headers.insert(REQUEST_ID, request_id.clone());
        headers.remove(&reply.form.for_gateway);
        if let Ok(date) = HeaderValue::try_from(fmt_http_date(SystemTime::now())) {
            headers.insert(DATE, date);
        }
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
