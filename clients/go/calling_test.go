package instantaudience

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/grpc"
)

// thinking answers nothing before its client is gone.
type thinking struct {
	pb.UnimplementedCatalogServiceServer
	isAsked chan struct{}
}

func (s thinking) CreateSegment(ctx context.Context, _ *pb.CreateSegmentRequest) (*pb.CreateSegmentResponse, error) {
	s.isAsked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestACallWhoseConnectionIsClosedBeforeItsContextEndsIsToldThatItsClientIsClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service, server := thinking{isAsked: make(chan struct{})}, grpc.NewServer()
	pb.RegisterCatalogServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := NewClient(listener.Addr().String(), WithToken("x"), WithPlaintext())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		// Contexts end with their client a moment later, in goroutines of their own; this one does not at all.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		says := func() bool { return true }
		method, answer := pb.CatalogService_CreateSegment_FullMethodName, new(pb.CreateSegmentResponse)
		ended <- client.caller.call(ctx, method, new(pb.CreateSegmentRequest), answer, says)
	}()
	<-service.isAsked
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	var said *Error
	if err := <-ended; !errors.As(err, &said) || said.Kind != Unavailable || said.Message != "the client is closed" {
		t.Error(err)
	}
}
