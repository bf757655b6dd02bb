package instantaudience

import (
	"context"
	"strings"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Conn is a connection for the stubs of instantaudiencev1, for methods that the client does not have:
// instantaudiencev1.NewCatalogServiceClient(client.Conn()).
//
// Calls are signed in, have a deadline, and fail with *Error. They are retried if the proto files declare the method
// idempotent, otherwise only if they were refused. Streams are signed in, within 30 seconds if their context has no
// deadline, and nothing more.
func (c *Client) Conn() grpc.ClientConnInterface {
	return stubs{c}
}

type stubs struct {
	client *Client
}

func (s stubs) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	ctx, cancel := s.client.withDeadline(ctx)
	defer cancel()
	saysAnything := func() bool { return true }
	return s.client.caller.call(ctx, method, request.(proto.Message), answer.(proto.Message), saysAnything, options...)
}

func (s stubs) NewStream(
	ctx context.Context, stream *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	signingIn, release := s.client.withDeadline(ctx)
	defer release()
	token, err := s.client.caller.session.get(signingIn)
	if err != nil {
		return nil, err
	}
	return s.client.caller.conn.NewStream(outgoing(ctx, token, newRequestID()), stream, method, options...)
}

// isIdempotent reports whether the proto file declares a method idempotent.
func isIdempotent(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	options, ok := found.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

var causeOverloaded = strings.TrimPrefix(pb.ErrorCause_ERROR_CAUSE_OVERLOADED.String(), "ERROR_CAUSE_")

// wasRefused reports whether a call with this error certainly changed nothing.
func wasRefused(failed *Error) bool {
	return failed.Kind == RateLimited || failed.Metadata["cause"] == causeOverloaded
}
