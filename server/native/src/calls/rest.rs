//! The JSON responses to REST calls.

use std::sync::Arc;
use std::time::SystemTime;

use h2::SendStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use httpdate::fmt_http_date;

use crate::calls::outgoing::{Gone, Piece, send_all};
use crate::calls::request_ids::REQUEST_ID;
use crate::calls::service::{JsonForm, Shared};
use crate::grpc::{Origin, PREFIX_BYTES};
use crate::handover::{Answer, Failure};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the caller of a REST call is answered.
pub struct Reply<'a> {
    pub form: &'a JsonForm,
    /// The response's request ID. None for a call that the gateway has passed on: it adds the ID and the date itself,
    /// and removes what is for it alone.
    pub request_id: Option<HeaderValue>,
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
