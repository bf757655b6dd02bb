package instantaudience

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Attempt is what became of an attempt of a call, for metrics and logs.
type Attempt struct {
	// Method is its path: "/instantaudience.v1.AudienceService/ApplySegments".
	Method string
	// Number is which attempt of the call it was, from 1.
	Number int
	// Err is what it failed with; nil where it did not. Its code is Canceled where the caller gave it up.
	Err *Error
	// Took is how long it was under way.
	Took time.Duration
	// RequestID is what the service's log names it by; that of all attempts of a call.
	RequestID string
}

// caller makes calls on a connection.
type caller struct {
	conn      *grpc.ClientConn
	session   *session
	retries   Retries
	onAttempt func(Attempt)
	// again says that all calls may be made twice, whatever the proto files say.
	again bool
}

// call is sent again where that is safe. It fails where the answer does not say what every answer does.
func (c *caller) call(
	ctx context.Context, method string, request, answer proto.Message, says func() bool, options ...grpc.CallOption,
) error {
	requestID := newRequestID()
	isSafe := c.again || isIdempotent(method)
	renewed := false
	for number := 1; ; number++ {
		token, err := c.session.get(ctx)
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
			if err := sleep(ctx, pause, failed); err != nil {
				return err
			}
		}
	}
}

// attempt is what one attempt failed with; or why it came to none.
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
		// gRPC tells this as it tells a connection that broke.
		if _, unreadable := proto.Marshal(request); unreadable != nil {
			failed = invalid(unreadable.Error())
		}
	} else if !says() {
		failed = saysNothing(requestID)
	}
	c.tell(Attempt{method, number, failed, time.Since(began), requestID})
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx)
	}
	return failed, nil
}

func (c *caller) tell(attempt Attempt) {
	if c.onAttempt != nil {
		c.onAttempt(attempt)
	}
}

// outgoing is the context with what goes with a call.
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

// unavailable is the error of a stream that does not go on.
func unavailable(message, requestID string) *Error {
	return &Error{Kind: Unavailable, Code: codes.Unavailable, Message: message, RequestID: requestID}
}
