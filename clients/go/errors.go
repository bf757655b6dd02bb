package instantaudience

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is what a call fails with; errors.As finds it, and errors.Is(err, instantaudience.RateLimited) asks for its kind.
// A call whose context was cancelled fails with the context's error instead.
type Error struct {
	// Kind is what it means for a caller.
	Kind Kind
	// Code is gRPC's status code.
	Code codes.Code
	// Reason is that of google.rpc.ErrorInfo, one of the constants Reason…; "" where the transport has failed.
	Reason string
	// Message says what is wrong, for people.
	Message string
	// RequestID is what the service's log names the call by; "" where nothing was sent.
	RequestID string
	// RetryAfter is when the service asks to try again; 0 where it does not.
	RetryAfter time.Duration
	// Metadata is what ErrorInfo says besides: `cause`, and often `field`, the field that is meant.
	Metadata map[string]string
}

// Error has the message, and what finds the call in the service's log.
func (e *Error) Error() string {
	name := e.Reason
	if name == "" {
		name = e.Code.String()
	}
	if e.RequestID == "" {
		return fmt.Sprintf("%s: %s", name, e.Message)
	}
	return fmt.Sprintf("%s: %s (request %s)", name, e.Message, e.RequestID)
}

// Is tells whether an error is of a kind; context.DeadlineExceeded is one of kind DeadlineExceeded.
func (e *Error) Is(target error) bool {
	return target == error(e.Kind) || (target == context.DeadlineExceeded && e.Kind == DeadlineExceeded)
}

// Error makes a kind something that errors.Is can ask for.
func (k Kind) Error() string {
	return string(k)
}

// errorOfCall is what the error of a call means.
func errorOfCall(err error, requestID string) *Error {
	return errorOfStatus(status.Convert(err), requestID)
}

// errorOfStatus is what the status of a call, or of a request of a stream, means.
func errorOfStatus(failed *status.Status, requestID string) *Error {
	meant := &Error{Code: failed.Code(), Message: failed.Message(), RequestID: requestID}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			meant.Reason, meant.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			meant.RetryAfter = max(0, detail.GetRetryDelay().AsDuration())
		}
	}
	meant.Kind = kindOf(meant.Code, meant.Reason)
	return meant
}

func kindOf(code codes.Code, reason string) Kind {
	if kind, ok := kindOfReason[reason]; ok {
		return kind
	}
	if kind, ok := kindWithoutReason[code]; ok && reason == "" {
		return kind
	}
	if kind, ok := kindOfCode[code]; ok {
		return kind
	}
	return Internal
}

// saysNothing is the error of an answer without what every answer has.
func saysNothing(requestID string) *Error {
	return &Error{
		Kind: Internal, Code: codes.Internal, Message: "an answer that says nothing", RequestID: requestID,
	}
}

// invalid is the error of what cannot be sent at all.
func invalid(message string) *Error {
	return &Error{Kind: InvalidRequest, Code: codes.InvalidArgument, Message: message}
}

// tooLate is the error of what is not sent, because the caller's time is over or would be.
func tooLate(message string) *Error {
	return &Error{Kind: DeadlineExceeded, Code: codes.DeadlineExceeded, Message: message}
}
