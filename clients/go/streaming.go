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

// lookEvery is how often it is looked whether a stream still goes on.
const lookEvery = 250 * time.Millisecond

// Stream puts any number of users into segments; the answers come in order, as many users as went in a request each.
//
// Users are taken as they can be sent: memory is bounded, however many there are. A request that fails so that it helps is
// sent again, each user's changes in order, until WithStreamPatience has passed without any progress, or the context has
// ended; that error is the last thing the iterator gives. While users are waited for, no patience is used up. Where nobody
// takes the answers, nothing more is sent.
//
// The users' iterator runs in a goroutine of its own; it is not asked for more when the iterator of the answers has ended.
func (c *Client) Stream(ctx context.Context, users iter.Seq[*pb.RtSegment]) iter.Seq2[*StreamResult, error] {
	return func(yield func(*StreamResult, error) bool) {
		ctx, release := c.untilClosed(ctx)
		defer release()
		limits, err := c.Limits(ctx)
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

// errStopped ends a stream whose answers nobody takes.
var errStopped = errors.New("no more answers are taken")

// streaming is all of a call: stream after stream, until all users are answered.
type streaming struct {
	client *Client
	limits Limits
	source *source
	yield  func(*StreamResult, error) bool
	window window
	// isExhausted says that there are no more users.
	isExhausted bool
	// isEnded says that no more answers are taken.
	isEnded bool
	// waitsSince is since when the first request of the window waits without any progress; where there is none, nothing does.
	waitsSince time.Time
	// failures is how many streams have failed since the last progress.
	failures int
	// isRenewed says that the token is new since then.
	isRenewed bool
}

func (s *streaming) isOver() bool {
	return s.isExhausted && len(s.window) == 0
}

// awaitUsers waits until there is something to send, or there are no more users.
func (s *streaming) awaitUsers(ctx context.Context) error {
	if len(s.window) > 0 || s.isExhausted {
		return nil
	}
	select {
	case part, ok := <-s.source.parts:
		s.take(part, ok)
		return nil
	case <-ctx.Done():
		return endOf(ctx, tooLate("the caller's time was over while users were waited for"))
	}
}

// take adds another request to the window, or notes that there is none; nil then.
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

// stream sends what has to go again and what is new on one stream; then it waits until another one is worth a try. It
// fails where that is never, or not in time.
func (s *streaming) stream(ctx context.Context) error {
	// Where there is no progress for so long, nothing more is waited for; a stream under way is given up when it hangs.
	patient, cancelWait := context.WithDeadline(ctx, s.waitsSince.Add(s.client.patience))
	token, err := s.client.session.get(patient)
	cancelWait()
	if err != nil {
		return err
	}
	requestID := newRequestID()
	began := time.Now()
	one := &oneStream{streaming: s, requestID: requestID, queue: s.window.toRepeat(), readSince: began}
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

// pause waits until what has failed is worth another try.
func (s *streaming) pause(ctx context.Context, failure *Error, token string) error {
	if ctx.Err() == context.Canceled {
		return context.Cause(ctx)
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
	patient, cancel := context.WithDeadline(ctx, s.waitsSince.Add(s.client.patience))
	defer cancel()
	return sleep(patient, pause, failure)
}

// giveResults hands on the first ones that are answered for good; each makes room.
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

// answer is what comes on a stream.
type answer struct {
	response *pb.StreamSegmentsResponse
	err      error
}

// oneStream is what is under way on one stream, and what has failed.
type oneStream struct {
	*streaming
	requestID string
	// queue is what is to be sent, pending what was and is not answered, both in order.
	queue, pending []*request
	// failure is the first that is worth another try: nothing is sent after it, and what was sent is answered.
	failure *Error
	// readSince is since when an answer is waited for: while the caller is busy with the last one, none is.
	readSince time.Time
}

func (o *oneStream) fail(failure *Error) {
	if o.failure == nil {
		o.failure = failure
	}
}

// run sends and receives until the stream ends. It fails where the call is over by that.
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
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		var next *request
		var toSend chan<- *request
		var parts <-chan *part
		switch {
		case sending == nil:
		case o.failure != nil || (len(o.queue) == 0 && o.isExhausted):
			close(sending)
			sending = nil
		case len(o.queue) > 0:
			next, toSend = o.queue[0], sending
		case len(o.window) < o.client.window:
			parts = o.source.parts
		}
		select {
		case toSend <- next:
			next.attempts++
			o.queue, o.pending = o.queue[1:], append(o.pending, next)
		case part, ok := <-parts:
			if added := o.take(part, ok); added != nil && added.failure == nil {
				o.queue = append(o.queue, added)
			} else if err := o.giveResults(); err != nil {
				return err
			}
		case answer := <-answers:
			if isEnd, err := o.receive(answer); isEnd || err != nil {
				return err
			}
		case <-look.C:
			if o.isStuck(sending == nil) {
				o.fail(unavailable("the stream does not go on", o.requestID))
				return nil
			}
		}
	}
}

// isStuck says whether an answer, or the end where all is sent, is waited for longer than an attempt may take.
func (o *oneStream) isStuck(isSent bool) bool {
	most := o.client.caller.retries.Attempt
	if len(o.pending) > 0 {
		return o.pending[0].isStuck(o.readSince, most)
	}
	return isSent && time.Since(o.readSince) > most
}

// receive takes what has come; true where that was the end.
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

// send sends what it is given, as fast as the member may; when there is no more, the stream's sending half ends.
func (o *oneStream) send(ctx context.Context, call segmentStream, requests <-chan *request) {
	for next := range requests {
		next.since.Store(0)
		if o.client.pacer.wait(ctx, len(next.part.users), o.limits) != nil {
			return
		}
		next.since.Store(time.Now().UnixNano())
		if call.Send(&pb.StreamSegmentsRequest{RtSegment: next.part.users}) != nil {
			return // Why, is what is received.
		}
	}
	_ = call.CloseSend() // It never fails.
}

// receive gives what comes, its end included, until the stream is over for who takes it: the context's end is told so, too.
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
