package instantaudience

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is the error of a failed call. Use errors.As to get it, or errors.Is(err, instantaudience.RateLimited) to test
// its kind. A call whose context was cancelled fails with the context's cause instead: context.Canceled, if none was
// given.
type Error struct {
	// Kind is the kind of failure, which tells what a caller can do.
	Kind Kind
	// Code is gRPC's status code.
	Code codes.Code
	// Reason is the reason of google.rpc.ErrorInfo, one of the constants Reason…; "" if the transport failed.
	Reason string
	// Message describes the error for people.
	Message string
	// RequestID is the call's ID in the service's log; "" if nothing was sent.
	RequestID string
	// RetryAfter is when the service asks to try again; 0 if it does not.
	RetryAfter time.Duration
	// Metadata is the metadata of ErrorInfo: `cause`, and often `field`, the field concerned.
	Metadata map[string]string
}

// Error returns the message, with the reason and the request ID.
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

// Is reports whether the error is of a kind. One of kind DeadlineExceeded also matches Unavailable, as it can be sent
// again, too, and context.DeadlineExceeded.
func (e *Error) Is(target error) bool {
	isLate := e.Kind == DeadlineExceeded
	return target == error(e.Kind) || (isLate && (target == error(Unavailable) || target == context.DeadlineExceeded))
}

// Error makes Kind an error, so that errors.Is accepts it as a target.
func (k Kind) Error() string {
	return string(k)
}

// errorOfCall converts the error of a call.
func errorOfCall(err error, requestID string) *Error {
	return errorOfStatus(status.Convert(err), requestID)
}

// errorOfStatus converts the status of a call, or of a request in a stream.
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

// saysNothing is the error of an answer without its mandatory content.
func saysNothing(requestID string) *Error {
	return &Error{
		Kind: Internal, Code: codes.Internal, Message: "an answer that does not say what was asked for", RequestID: requestID,
	}
}

// invalid is the error of a request that cannot be sent.
func invalid(message string) *Error {
	return &Error{Kind: InvalidRequest, Code: codes.InvalidArgument, Message: message}
}

// tooLate is the error of what is not sent because the deadline has passed, or would.
func tooLate(message string) *Error {
	return &Error{Kind: DeadlineExceeded, Code: codes.DeadlineExceeded, Message: message}
}
