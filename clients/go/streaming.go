package instantaudience

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lookEvery is the interval between checks whether a stream is stuck.
const lookEvery = 250 * time.Millisecond

// Stream puts any number of users into segments; it yields a result for each request, in order.
//
// Users are read only as fast as they can be sent, so memory stays bounded. Users that come slowly go together with
// those of the next 0.3 s at most. A failed request is retried, if that is useful, keeping the order of each user's
// changes, until WithStreamPatience has passed without progress, or the context has ended; that error is the iterator's
// last value. Time spent waiting for users, or in which the process is stopped, does not count. If the results are not
// read, nothing more is sent.
//
// The users' iterator runs in a goroutine of its own; it is not read any further once the iterator of the results has
// ended.
func (c *Client) Stream(ctx context.Context, users iter.Seq[*pb.RtSegment]) iter.Seq2[*StreamResult, error] {
	return func(yield func(*StreamResult, error) bool) {
		ctx, release := untilClosed(ctx, c.closing)
		defer release()
		patient, cancel := context.WithTimeout(ctx, c.patience)
		limits, err := c.Limits(patient)
		cancel()
		if err != nil {
			yield(nil, err)
			return
		}
		source := newSource(users, limits)
		defer source.close()
		s := &streaming{client: c, limits: limits, source: source, yield: yield, waitsSince: time.Now()}
		for {
			if err := s.awaitUsers(ctx); err != nil {
				yield(nil, err)
				return
			}
			if s.giveResults() != nil || s.isOver() {
				return
			}
			if len(s.window) == 0 {
				continue
			}
			if err := s.stream(ctx); err != nil {
				if !s.isEnded {
					yield(nil, err)
				}
				return
			}
		}
	}
}

// errStopped ends a stream whose results are not read any more.
var errStopped = errors.New("no more answers are taken")

// streaming is the state of a call: it opens one stream after another, until all users are answered.
type streaming struct {
	client *Client
	limits Limits
	source *source
	yield  func(*StreamResult, error) bool
	window window
	// isExhausted says that there are no more users.
	isExhausted bool
	// isEnded says that no more results are read.
	isEnded bool
	// waitsSince is since when the first request of the window has been waiting without progress.
	waitsSince time.Time
	// failures is the number of streams that failed since the last progress.
	failures int
	// isRenewed says that the token was renewed since then.
	isRenewed bool
}

func (s *streaming) isOver() bool {
	return s.isExhausted && len(s.window) == 0
}

// awaitUsers waits until there is something to send, or there are no more users.
func (s *streaming) awaitUsers(ctx context.Context) error {
	resting := time.NewTicker(linger / 2)
	defer resting.Stop()
	for len(s.window) == 0 && !s.isExhausted {
		select {
		case part, ok := <-s.source.parts:
			s.take(part, ok)
		case <-resting.C:
			if rest := s.source.rest(); rest != nil {
				s.take(rest, true)
			}
		case <-ctx.Done():
			return endOf(ctx, tooLate("the caller's time was over while users were waited for"))
		}
	}
	return nil
}

// take adds a request to the window, or notes that there are no more and returns nil.
func (s *streaming) take(part *part, ok bool) *request {
	if !ok {
		s.isExhausted = true
		if s.source.panicked != nil {
			panic(s.source.panicked)
		}
		return nil
	}
	if len(s.window) == 0 {
		s.waitsSince = time.Now()
	}
	added := &request{part: part, failure: part.unreadable()}
	s.window = append(s.window, added)
	return added
}

// stream opens one stream, sends what is to be repeated and what is new, and then waits until another stream is worth a
// try. It fails if that is never, or not before patience ends.
func (s *streaming) stream(ctx context.Context) error {
	// Bounded by the patience. A stream in progress is abandoned when it hangs.
	patient, cancelWait := context.WithDeadline(ctx, s.waitsSince.Add(s.client.patience))
	token, err := s.client.session.get(patient)
	cancelWait()
	if err != nil {
		return err
	}
	requestID := newRequestID()
	began := time.Now()
	one := &oneStream{
		streaming: s, requestID: requestID, queue: s.window.toRepeat(), readSince: began, looked: began,
	}
	err = one.run(outgoing(ctx, token, requestID))
	if err == errStopped {
		one.failure = errorOfStatus(status.New(codes.Canceled, err.Error()), requestID)
	}
	s.client.caller.tell(Attempt{
		pb.AudienceService_StreamSegments_FullMethodName, 1, one.failure, time.Since(began), requestID,
	})
	if err != nil {
		return err
	}
	if one.failure == nil {
		return nil
	}
	return s.pause(ctx, one.failure, token)
}

// pause waits until the failure is worth a retry.
func (s *streaming) pause(ctx context.Context, failure *Error, token string) error {
	if why := s.client.session.ended(ctx); why != nil {
		return why
	}
	s.failures++
	if len(s.window) == 0 {
		s.waitsSince = time.Now()
	}
	if failure.Kind == Unauthenticated {
		if s.isRenewed || failure.Reason != renewedReason || !s.client.session.refused(token) {
			return failure
		}
		s.isRenewed = true
		return nil
	}
	pause, again := s.client.caller.retries.pause(failure, max(s.failures, s.window.attempts())-1)
	if !again {
		return failure
	}
	if pause >= time.Until(s.waitsSince.Add(s.client.patience)) {
		return failure
	}
	began := time.Now()
	err := sleep(ctx, pause, failure)
	s.excuse(time.Since(began) - pause)
	return err
}

// excuse does not count this time, in which the process was stopped, as time without progress.
func (s *streaming) excuse(late time.Duration) {
	s.waitsSince = s.waitsSince.Add(max(0, min(late, time.Since(s.waitsSince))))
}

// giveResults yields the results of the first requests, as far as they are final; each makes room.
func (s *streaming) giveResults() error {
	for len(s.window) > 0 && s.window[0].isAnswered() {
		first := s.window[0]
		s.window = s.window[1:]
		if !s.yield(first.outcome(), nil) {
			s.isEnded = true
			return errStopped
		}
		s.waitsSince, s.failures, s.isRenewed = time.Now(), 0, false
	}
	return nil
}

type segmentStream = grpc.BidiStreamingClient[pb.StreamSegmentsRequest, pb.StreamSegmentsResponse]

// answer is what is received on a stream.
type answer struct {
	response *pb.StreamSegmentsResponse
	err      error
}

// oneStream is what is in flight on one stream, and why it failed.
type oneStream struct {
	*streaming
	requestID string
	// queue has what is to be sent, pending what was sent and is not answered, both in order.
	queue, pending []*request
	// failure is the first error that is worth a retry: after it nothing is sent, but answers are still read.
	failure *Error
	// readSince is since when an answer has been waited for; time in which the caller processes a result, or the process is
	// stopped, does not count.
	readSince time.Time
	// looked is when something was last waited for, for lookEvery at most.
	looked time.Time
}

func (o *oneStream) fail(failure *Error) {
	if o.failure == nil {
		o.failure = failure
	}
}

// run sends and receives until the stream ends. It returns an error only if that ends the whole call.
func (o *oneStream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := pb.NewAudienceServiceClient(o.client.conn).StreamSegments(ctx)
	if err != nil {
		o.fail(errorOfCall(err, o.requestID))
		return nil
	}
	sending, answers, sent, over := make(chan *request), make(chan answer), make(chan struct{}), make(chan struct{})
	go func(requests <-chan *request) {
		defer close(sent)
		o.send(ctx, call, requests)
	}(sending)
	go receive(call, answers, over)
	defer func() {
		if sending != nil {
			close(sending)
		}
		close(over)
		cancel()
		<-sent
	}()
	look, resting := time.NewTicker(lookEvery), time.NewTicker(linger/2)
	defer look.Stop()
	defer resting.Stop()
	for {
		var next *request
		var toSend chan<- *request
		var parts <-chan *part
		var rests <-chan time.Time
		switch {
		case sending == nil:
		case o.failure != nil || (len(o.queue) == 0 && o.isExhausted):
			close(sending)
			sending = nil
		case len(o.queue) > 0:
			next, toSend = o.queue[0], sending
		case len(o.window) < o.client.window:
			parts, rests = o.source.parts, resting.C
		}
		select {
		case toSend <- next:
			next.attempts++
			o.queue, o.pending = o.queue[1:], append(o.pending, next)
		case part, ok := <-parts:
			if err := o.add(part, ok); err != nil {
				return err
			}
		case <-rests:
			if rest := o.source.rest(); rest != nil {
				if err := o.add(rest, true); err != nil {
					return err
				}
			}
		case answer := <-answers:
			o.look()
			if isEnd, err := o.receive(answer); isEnd || err != nil {
				return err
			}
		case <-look.C:
			o.look()
			if o.isStuck(sending == nil) {
				o.fail(unavailable("the stream does not go on", o.requestID))
				return nil
			}
		}
	}
}

// add queues a request to be sent, unless it has failed already; see take.
func (o *oneStream) add(part *part, ok bool) error {
	if added := o.take(part, ok); added != nil && added.failure == nil {
		o.queue = append(o.queue, added)
		return nil
	}
	return o.giveResults()
}

// look does not count time in which the process was stopped as time in which something was waited for.
func (o *oneStream) look() {
	now := time.Now()
	if late := now.Sub(o.looked) - lookEvery; late > 0 {
		o.readSince = o.readSince.Add(min(late, now.Sub(o.readSince)))
		o.excuse(late)
	}
	o.looked = now
}

// isStuck reports whether an answer, or the end of the stream after everything was sent, is overdue.
func (o *oneStream) isStuck(isSent bool) bool {
	most := o.client.caller.retries.Attempt
	if len(o.pending) > 0 {
		return o.pending[0].isStuck(o.readSince, most)
	}
	return isSent && time.Since(o.readSince) > most
}

// receive processes what was received; true if that was the end.
func (o *oneStream) receive(answer answer) (bool, error) {
	switch {
	case answer.err == io.EOF:
		if len(o.pending) > 0 || len(o.queue) > 0 || !o.isExhausted {
			o.fail(unavailable("the stream ended early", o.requestID))
		}
		return true, nil
	case answer.err != nil:
		o.fail(errorOfCall(answer.err, o.requestID))
		return true, nil
	case len(o.pending) == 0:
		o.failure = &Error{
			Kind: Internal, Code: codes.Internal, Message: "an answer to nothing", RequestID: o.requestID,
		}
		return true, o.failure
	}
	answered := o.pending[0]
	o.pending = o.pending[1:]
	switch answered.result = answer.response.GetResponse(); {
	case answered.result != nil:
	case answer.response.GetError() == nil:
		answered.failure = saysNothing(o.requestID)
	default:
		name := orElse(answer.response.GetRequestId(), o.requestID)
		failure := errorOfStatus(status.FromProto(answer.response.GetError()), name)
		if sentAgain[failure.Kind] || failure.Kind == Unauthenticated {
			o.fail(failure)
		} else {
			answered.failure = failure
		}
	}
	err := o.giveResults()
	o.readSince = time.Now()
	return false, err
}

// send sends requests as fast as the quota allows; then it closes the sending half.
func (o *oneStream) send(ctx context.Context, call segmentStream, requests <-chan *request) {
	for next := range requests {
		next.since.Store(nil)
		if o.client.pacer.wait(ctx, len(next.part.users), o.limits) != nil {
			return
		}
		now := time.Now()
		next.since.Store(&now)
		if call.Send(&pb.StreamSegmentsRequest{RtSegment: next.part.users}) != nil {
			return // Why, is what is received.
		}
	}
	_ = call.CloseSend() // It never fails.
}

// receive passes on what is received, including the end, until the stream is over for the receiver, who may have to
// learn that the context has ended.
func receive(call segmentStream, answers chan<- answer, over <-chan struct{}) {
	for {
		response, err := call.Recv()
		select {
		case answers <- answer{response, err}:
		case <-over:
			return
		}
		if err != nil {
			return
		}
	}
}
