//! REST calls that the gateway passes on untranscoded: which requests these are, and their JSON responses.

use std::sync::Arc;

use h2::SendStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::bounds::Piece;
use crate::calls::methods::JsonForm;
use crate::calls::outgoing::send_all;
use crate::calls::service::Shared;
use crate::grpc::{Gone, PREFIX_BYTES};
use crate::handover::{Answer, Failure};
use crate::peers::{Origin, Peer};

/// Set by the gateway on such calls (`transport/rest.py`). JSON that a caller sends directly is refused, as on the
/// other hosts.
const PASSED_ON: HeaderValue = HeaderValue::from_static("application/x-passed-on+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether a request is a REST call passed on by the gateway.
pub fn is_call(request: &Parts, peer: &Peer) -> bool {
    matches!(peer, Peer::Gateway)
        && request.method == Method::POST
        && request.headers.get(CONTENT_TYPE).is_some_and(|value| value == PASSED_ON)
}

/// Sends an answer as JSON.
pub async fn send(
    form: &JsonForm,
    answer: Answer,
    respond: &mut SendResponse<Piece>,
    origin: &Origin,
    shared: &Shared,
) -> Result<(), Gone> {
    match answer {
        Answer::Message(framed) => {
            let (writer, bytes) = (Arc::clone(&form.writer), framed.len());
            let write = move || writer.write(framed.get(PREFIX_BYTES..).unwrap_or_default());
            let body = shared.service.aside.run(bytes, write).await.ok_or(Gone)?.map_err(|_| Gone)?;
            let mut sending = start(respond, StatusCode::OK, HeaderMap::with_capacity(2), body.len())?;
            send_all(body.into(), true, &mut sending, origin, shared).await
        }
        Answer::Failure(failure) => fail(&failure, respond),
    }
}

/// Sends a failure as JSON.
pub fn fail(failure: &Failure, respond: &mut SendResponse<Piece>) -> Result<(), Gone> {
    let body = failure.body.clone();
    Ok(start(respond, failure.status, failure.headers.clone(), body.len())?.send_data(body.into(), true)?)
}

fn start(
    respond: &mut SendResponse<Piece>,
    status: StatusCode,
    mut headers: HeaderMap,
    body_bytes: usize,
) -> Result<SendStream<Piece>, Gone> {
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body_bytes));
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(respond.send_response(response, false)?)
}
