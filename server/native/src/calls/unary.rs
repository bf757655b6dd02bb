//! Unary calls: reads the request, hands it over to Python, sends the response.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::bounds::Reservation;
use crate::calls::incoming::{Message, Trouble};
use crate::calls::outgoing::{Gone, Piece, end, fail, send_all, start};
use crate::calls::rest;
use crate::calls::rest::Reply;
use crate::calls::service::{Kind, Method, Service, Shared};
use crate::grpc::{Encoding, Flaw, Messages, Metadata, Origin, only_message};
use crate::handover::{Answer, CallId, Event, Failure, Listener, Refusal, UnaryCall, Wait, Who, Why};
use crate::locks::lock;

/// The format of a request and its response.
pub enum Form {
    /// gRPC, with the announced compression.
    Grpc(Encoding),
    /// JSON, by the method's `JsonForm`. `announced` is the body's length, if it was announced.
    Json { announced: Option<usize> },
}

/// The part of a request that has not been read yet.
pub struct Request {
    pub body: RecvStream,
    pub form: Form,
    pub origin: Origin,
}

/// Serves a call of a unary method.
pub async fn serve(
    method: Method,
    mut metadata: Box<Metadata>,
    Request { mut body, form, origin }: Request,
    mut respond: SendResponse<Piece>,
    shared: Arc<Shared>,
) {
    let service = &*shared.service;
    let until = Instant::from_std(metadata.receive_until(service.call_timeout_seconds));
    let reserve = || shared.reserve_memory(origin.address());
    let (json, announced, encoding) = match form {
        Form::Json { announced } => {
            let form = service.json_forms.get(&method.number);
            (form.map(|form| Reply { form, request_id: metadata.response_id() }), announced, Encoding::Other)
        }
        Form::Grpc(encoding) => (None, None, encoding),
    };
    if let Some(failure) = refused_unread(method, &metadata, service) {
        // After that time, the sender is told what it would be told anyway.
        let _ = timeout_at(until, discard(&mut body, service.message_limit_bytes)).await;
        let mut caller = Caller { respond, json, origin, shared: &shared };
        if caller.send(Answer::Failure(failure)).await.is_err() {
            shared.give_up();
        }
        return;
    }
    let reading = async {
        if let Some(reply) = &json {
            read_text(&mut body, announced, reserve, reply.form.limit_bytes, service.message_limit_bytes).await
        } else {
            let known = encoding != Encoding::Other && is_known(method.kind, &metadata, service);
            read(&mut body, reserve, encoding, service, known).await
        }
    };
    // The memory reservation is held until the call is answered.
    let read = tokio::select! {
        biased;
        read = timeout_at(until, reading) => read,
        _ = poll_fn(|context| respond.poll_reset(context)) => return shared.give_up(),
    };
    let mut caller = Caller { respond, json, origin, shared: &shared };
    if let (Some(reply), true) = (&caller.json, Instant::now() > until) {
        // The sender was too slow; this is the gateway's answer for such bodies, too.
        let _ = rest::fail(reply, &reply.form.too_slow, &mut caller.respond);
        if !metadata.by_gateway {
            let why = Refusal::NotReceived;
            service.arrivals.add_event(Event::Noted { method: method.number, metadata, why });
        }
        return;
    }
    let (message, _held) = match read {
        Ok(Ok((message, held))) => (Ok(message), held),
        Ok(Err(Trouble::Flaw(flaw))) => (Err(flaw), None),
        Ok(Err(Trouble::Gone)) => return shared.give_up(),
        Err(_) => {
            let (method, why) = (Some(method.number), Refusal::NotReceived);
            let late = |id| Event::Refused { id, method, metadata, why };
            return Box::pin(caller.tell(late)).await;
        }
    };
    let (who, wait) = waiting(method.kind, &metadata, service);
    let (message, reader) = match (message, &caller.json) {
        (Ok(body), Some(reply)) => {
            if let Wait::Queued(key, until) = wait
                && service.arrivals.would_be_in_vain(key, until)
            {
                if let Some(failure) = service.refusals.next((method.number, key, Why::Waited)) {
                    let _ = rest::fail(reply, &failure, &mut caller.respond);
                }
                return;
            }
            metadata.body_bytes = body.len() as u64;
            let reader = Arc::clone(&reply.form.reader);
            if who.is_none() && method.kind != Kind::Express {
                (Ok(body), Some(reader))
            } else {
                let read = tokio::select! {
                    biased;
                    read = service.background.run(body.len(), move || reader.read(&body)) => read,
                    _ = poll_fn(|context| caller.respond.poll_reset(context)) => return shared.give_up(),
                };
                match read {
                    Some(Ok(message)) => (Ok(message.into()), None),
                    Some(Err(text)) => {
                        let misread = |id| Event::Misread { id, method: method.number, metadata, text };
                        return Box::pin(caller.tell(misread)).await;
                    }
                    None => return,
                }
            }
        }
        (message, _) => (message, None),
    };
    let (answer, answered) = oneshot::channel();
    let id = service.answers.listen(Listener::Unary(answer));
    let known = who.is_some() || method.kind == Kind::Express;
    let gathered = method.kind == Kind::Gathered;
    let call = UnaryCall { id, method: method.number, metadata, message, reader, known, gathered };
    if let Some(refused) = service.arrivals.add_call(call, wait) {
        service.refusals.refuse(refused, Why::Full, &service.answers);
    }
    caller.finish(id, wait, answered).await;
}

/// Who calls, if that is known, and whether and how long the call waits for capacity.
fn waiting(kind: Kind, metadata: &Metadata, service: &Service) -> (Option<Who>, Wait) {
    if kind == Kind::Express {
        return (None, Wait::Express);
    }
    let who = who(metadata, service);
    let until = metadata.wait_until(service.call_timeout_seconds, service.patience);
    let wait = match who {
        Some(Who::Member(member)) => Wait::Queued(Some(member), until),
        Some(Who::Admin) => Wait::Express,
        None => Wait::Queued(None, until),
    };
    (who, wait)
}

/// The answer to a call whose member has spent its quota, whatever the call says.
fn refused_unread(method: Method, metadata: &Metadata, service: &Service) -> Option<Arc<Failure>> {
    service.refusals.of_spent(method.number, metadata.came, || match who(metadata, service)? {
        Who::Member(member) => Some(member),
        Who::Admin => None,
    })
}

/// Has Python refuse a request that is no valid call, and sends its answer.
pub async fn refuse(
    respond: SendResponse<Piece>,
    method: Option<Method>,
    metadata: Box<Metadata>,
    why: Refusal,
    shared: Arc<Shared>,
) {
    let method = method.map(|method| method.number);
    let mut caller = Caller { respond, json: None, origin: Origin::Told(None), shared: &shared };
    caller.tell(|id| Event::Refused { id, method, metadata, why }).await;
}

/// Whether the caller's token was valid lately, which is known without asking Python.
fn is_known(kind: Kind, metadata: &Metadata, service: &Service) -> bool {
    kind != Kind::Express && who(metadata, service).is_some()
}

/// The owner of the caller's token, if it was valid lately.
fn who(metadata: &Metadata, service: &Service) -> Option<Who> {
    lock(&service.tokens).find(metadata.authorization(), metadata.came)
}

/// The caller of a unary call.
pub struct Caller<'a> {
    pub respond: SendResponse<Piece>,
    /// None for a gRPC response.
    pub json: Option<Reply<'a>>,
    pub origin: Origin,
    pub shared: &'a Shared,
}

impl Caller<'_> {
    /// Reports an event to Python in place of a call, and sends the failure with which Python answers.
    pub async fn tell(&mut self, event: impl FnOnce(CallId) -> Event) {
        let (answer, answered) = oneshot::channel();
        let id = self.shared.service.answers.listen(Listener::Unary(answer));
        self.shared.service.arrivals.add_event(event(id));
        self.finish(id, Wait::Express, answered).await;
    }

    /// Waits for Python's answer and sends it; or, if the caller cancels, withdraws the call.
    pub async fn finish(&mut self, id: CallId, wait: Wait, answered: oneshot::Receiver<Answer>) {
        tokio::select! {
            biased;
            answer = answered => {
                // Sending fails only if the caller has gone. If Python dropped the call without an answer, the stream
                // is reset.
                if let Ok(answer) = answer {
                    let _ = self.send(answer).await;
                }
            }
            _ = poll_fn(|context| self.respond.poll_reset(context)) => {
                self.shared.give_up();
                let service = &self.shared.service;
                if service.answers.forget(id) && !service.arrivals.forget(id, wait) {
                    service.arrivals.add_event(Event::Gone { id });
                }
            }
        }
    }

    /// Sends an answer.
    pub async fn send(&mut self, answer: Answer) -> Result<(), Gone> {
        let (respond, shared) = (&mut self.respond, self.shared);
        match (answer, &self.json) {
            (answer, Some(reply)) => rest::send(reply, answer, respond, &self.origin, shared).await,
            (Answer::Message(message), None) => {
                let mut sending = start(respond)?;
                send_all(message, false, &mut sending, &self.origin, shared).await?;
                end(&mut sending)
            }
            (Answer::Failure(failure), None) => fail(respond, failure.trailers.clone()),
        }
    }
}

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
    use std::collections::{HashMap, HashSet};
    use std::error::Error;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use bytes::Bytes;
    use h2::{Reason, SendStream};
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use tokio::io::duplex;
    use tokio::runtime::Builder;
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::timeout;

    use super::*;
    use crate::calls::service::JsonForm;
    use crate::grpc::Peer;
    use crate::handover::{Capacity, Prices, Spent};
    use crate::json::{Reader, Writer};

    const METHOD: Method = Method { number: 0, kind: Kind::Gathered };
    const KNOWN: &str = "known";
    const LONG_BYTES: u32 = 256 * 1024;

    fn with_json() -> Result<Service, Box<dyn Error>> {
        let rows = || HashMap::from([("Empty".to_owned(), Vec::new())]);
        let rules = ["STRING", "INT32"].map(|name| (name.to_owned(), String::new()));
        let reader = Reader::new(rows(), "Empty", &[], 1, HashMap::from(rules), String::new())?;
        let failure = Arc::new(Failure {
            trailers: HeaderMap::new(),
            status: StatusCode::REQUEST_TIMEOUT,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        });
        let form = JsonForm {
            limit_bytes: LONG_BYTES as usize,
            reader: Arc::new(reader),
            writer: Arc::new(Writer::new(rows(), "Empty")?),
            too_slow: Arc::clone(&failure),
            elsewhere: Arc::clone(&failure),
            no_credential: failure,
            for_gateway: HeaderName::from_static("x-test"),
        };
        let service = Service { json_forms: HashMap::from([(METHOD.number, form)]), ..Service::without_methods()? };
        lock(&service.tokens).learn(KNOWN.as_bytes(), Who::Member(1), Instant::now().into_std());
        Ok(service)
    }

    fn with(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(token))])
    }

    /// Begins a call with this body, and returns its caller's end.
    async fn begin(
        shared: &Arc<Shared>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(JoinHandle<()>, SendStream<Bytes>), Box<dyn Error>> {
        let mut serving = h2::server::Builder::new();
        serving.initial_window_size(2 * LONG_BYTES).initial_connection_window_size(2 * LONG_BYTES);
        let (here, there) = duplex(64 * 1024);
        let (caller, server) = tokio::join!(h2::client::handshake(there), serving.handshake::<_, Piece>(here));
        let ((mut requests, connection), mut server) = (caller?, server?);
        tokio::spawn(connection);
        let (_, mut sending) = requests.send_request(http::Request::post("http://here/").body(())?, false)?;
        sending.send_data(body, true)?;
        let (request, respond) = server.accept().await.ok_or("no request")??;
        tokio::spawn(async move { server.accept().await.is_some() });
        let (form, origin) = (Form::Json { announced: None }, Origin::Told(None));
        let request = Request { body: request.into_body(), form, origin };
        let metadata = Metadata::read(&headers, &Peer::Gateway);
        Ok((tokio::spawn(serve(METHOD, metadata, request, respond, Arc::clone(shared))), sending))
    }

    /// What Python is handed, once there is something.
    async fn taken(shared: &Shared) -> (Vec<UnaryCall>, Vec<Event>) {
        let prices =
            Prices { call: 1, first_more: 0, small_bytes: 0, place_bytes: usize::MAX, most: usize::MAX, quantum: 1 };
        let capacity = Capacity { free: 1, kept: 0, running: HashSet::new(), wait: false };
        loop {
            let taken = shared.service.arrivals.take(&capacity, &prices);
            if !taken.calls.is_empty() || !taken.events.is_empty() {
                return (taken.calls, taken.events);
            }
            yield_now().await;
        }
    }

    #[test]
    fn a_body_is_read_here_only_if_its_token_is_known() -> Result<(), Box<dyn Error>> {
        let shared = Arc::new(Shared::new(Arc::new(with_json()?), None, None, None));
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let mut callers = Vec::new();
            for (token, is_read) in [("unknown", false), (KNOWN, true)] {
                callers.push(begin(&shared, with(token), Bytes::from_static(b"{")).await?);
                let (calls, events) = taken(&shared).await;
                let call = calls.first();
                let has_reader =
                    call.is_some_and(|call| matches!(&call.message, Ok(text) if text == "{") && call.reader.is_some());
                assert_eq!(has_reader, !is_read, "{token}");
                assert_eq!(matches!(events.first(), Some(Event::Misread { .. })), is_read, "{token}");
            }
            Ok(())
        })
    }

    #[test]
    fn a_call_over_a_spent_quota_is_answered_without_python() -> Result<(), Box<dyn Error>> {
        let shared = Arc::new(Shared::new(Arc::new(with_json()?), None, None, None));
        let service = &shared.service;
        let failure = service.json_forms.get(&METHOD.number).ok_or("no form")?.too_slow.clone();
        let until = Instant::now().into_std() + Duration::from_secs(60);
        let spent = Spent { quota: "posts".into(), until, failure };
        service.refusals.spend(METHOD.number, 1, spent, &service.arrivals, &service.answers);
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let (call, _sending) = begin(&shared, with(KNOWN), Bytes::from_static(b"{")).await?;
            timeout(Duration::from_secs(20), call).await??;
            assert_eq!(service.refusals.take().into_values().collect::<Vec<_>>(), [1]);
            let (_other, _sending) = begin(&shared, with("unknown"), Bytes::from_static(b"{")).await?;
            assert_eq!(taken(&shared).await.0.len(), 1);
            let (gone, mut sending) = begin(&shared, with(KNOWN), vec![b' '; LONG_BYTES as usize].into()).await?;
            sending.send_reset(Reason::CANCEL);
            timeout(Duration::from_secs(20), gone).await??;
            assert_eq!(shared.take_given_up(), 1);
            Ok(())
        })
    }

    #[test]
    fn a_long_body_waits_for_nobody_who_has_left() -> Result<(), Box<dyn Error>> {
        let shared = Arc::new(Shared::new(Arc::new(with_json()?), None, None, None));
        let (go_on, told) = channel::<()>();
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let service = Arc::clone(&shared.service);
            let other = async move { service.background.run(usize::MAX, move || told.recv().is_ok()).await };
            let other = tokio::spawn(other);
            let (call, mut sending) = begin(&shared, with(KNOWN), vec![b' '; LONG_BYTES as usize].into()).await?;
            for _ in 0..10_000 {
                yield_now().await; // then it has come whole, and waits
            }
            assert!(!call.is_finished());
            sending.send_reset(Reason::CANCEL);
            assert!(timeout(Duration::from_secs(20), call).await.is_ok());
            assert_eq!(shared.take_given_up(), 1);
            go_on.send(())?;
            assert!(matches!(other.await, Ok(Some(true))));
            Ok(())
        })
    }
}

#[cfg(test)]
mod bodies_tests {
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
