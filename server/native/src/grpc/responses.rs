//! gRPC responses over HTTP/2.

use h2::SendStream;
use h2::server::SendResponse;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::bounds::Piece;

/// Content type of gRPC requests and responses.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, identity");

/// The call is over: nobody waits for its response.
pub struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Gone
    }
}

/// Starts a response.
pub fn start(respond: &mut SendResponse<Piece>) -> Result<SendStream<Piece>, Gone> {
    Ok(respond.send_response(response(HeaderMap::with_capacity(2)), false)?)
}

/// Ends a response successfully, with status OK.
pub fn end(sending: &mut SendStream<Piece>) -> Result<(), Gone> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    Ok(sending.send_trailers(trailers)?)
}

/// Responds with a failure only (gRPC's "Trailers-Only").
pub fn fail(respond: &mut SendResponse<Piece>, trailers: HeaderMap) -> Result<(), Gone> {
    respond.send_response(response(trailers), true)?;
    Ok(())
}

fn response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, ENCODINGS);
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}
