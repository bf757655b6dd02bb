package instantaudience

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Attempt is the result of an attempt of a call, for metrics and logs.
type Attempt struct {
	// Method is the method's path: "/instantaudience.v1.AudienceService/ApplySegments".
	Method string
	// Number is the number of the attempt within the call, from 1.
	Number int
	// Err is the attempt's error; nil if it succeeded. Its code is Canceled if the caller cancelled the call.
	Err *Error
	// Took is the duration of the attempt.
	Took time.Duration
	// RequestID is the call's ID in the service's log; all attempts of a call have the same.
	RequestID string
}

// caller makes calls on a connection.
type caller struct {
	conn      *grpc.ClientConn
	session   *session
	retries   Retries
	onAttempt func(Attempt)
	// again says that all calls may be retried, regardless of the proto files.
	again bool
	// failure is the error of the last attempt after which another one was to come.
	failure atomic.Pointer[Error]
}

// call makes a call, and retries it if that is safe. It fails if the answer lacks its mandatory content.
func (c *caller) call(
	ctx context.Context, method string, request, answer proto.Message, says func() bool, options ...grpc.CallOption,
) error {
	requested := func() (proto.Message, error) { return request, nil }
	return c.callAnew(ctx, method, requested, answer, says, options...)
}

// callAnew is call with a request that is made for each attempt, since it does not hold as long as the call may take.
// An error of requested ends the call.
func (c *caller) callAnew(
	ctx context.Context, method string, requested func() (proto.Message, error), answer proto.Message, says func() bool,
	options ...grpc.CallOption,
) error {
	requestID := newRequestID()
	isSafe := c.again || isIdempotent(method)
	renewed := false
	for number := 1; ; number++ {
		token, err := c.session.get(ctx)
		if err != nil {
			return err
		}
		request, err := requested()
		if err != nil {
			return err
		}
		failed, err := c.attempt(ctx, method, number, token, requestID, request, answer, says, options)
		switch {
		case err != nil:
			return err
		case failed == nil:
			return nil
		case failed.Kind == Unauthenticated:
			if renewed || failed.Reason != renewedReason || !c.session.refused(token) {
				return failed
			}
			renewed = true
		default:
			pause, again := c.retries.pause(failed, number-1)
			if !again || !(isSafe || wasRefused(failed)) {
				return failed
			}
			c.failure.Store(failed)
			if err := sleep(ctx, pause, failed); err != nil {
				return err
			}
		}
	}
}

// attempt makes one attempt, and returns its error.
func (c *caller) attempt(
	ctx context.Context, method string, number int, token, requestID string, request, answer proto.Message,
	says func() bool, options []grpc.CallOption,
) (*Error, error) {
	if most, ok := left(ctx); ok && most <= 0 {
		return nil, tooLate("the caller's time was over before it could be sent")
	}
	attempt, cancel := context.WithTimeout(ctx, c.retries.Attempt)
	defer cancel()
	began := time.Now()
	err := c.conn.Invoke(outgoing(attempt, token, requestID), method, request, answer, options...)
	var failed *Error
	if err != nil {
		failed = errorOfCall(err, requestID)
		// gRPC reports this in the same way as a broken connection.
		if _, unreadable := proto.Marshal(request); unreadable != nil {
			failed = invalid(unreadable.Error())
		}
	} else if !says() {
		failed = saysNothing(requestID)
	}
	c.tell(Attempt{method, number, failed, time.Since(began), requestID})
	if err != nil {
		if why := c.session.ended(ctx); why != nil {
			return nil, why
		}
	}
	return failed, nil
}

func (c *caller) tell(attempt Attempt) {
	if c.onAttempt != nil {
		c.onAttempt(attempt)
	}
}

// outgoing returns a context with the metadata of a call.
func outgoing(ctx context.Context, token, requestID string) context.Context {
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", requestID)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	}
	return ctx
}

func newRequestID() string {
	id := make([]byte, 16)
	rand.Read(id) // It never fails.
	return hex.EncodeToString(id)
}

// unavailable is the error of a stream or client that cannot go on.
func unavailable(message, requestID string) *Error {
	return &Error{Kind: Unavailable, Code: codes.Unavailable, Message: message, RequestID: requestID}
}
