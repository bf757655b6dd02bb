package instantaudience_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/instantaudience/instantaudience/clients/go"
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type serverStream = grpc.BidiStreamingServer[pb.StreamSegmentsRequest, pb.StreamSegmentsResponse]

// streamService does with streams what it is told to.
type streamService struct {
	pb.UnimplementedAudienceServiceServer
	stream func(serverStream) error
}

func (s *streamService) StreamSegments(stream serverStream) error {
	return s.stream(stream)
}

// answerAll is what the service does.
func answerAll(stream serverStream) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(taken(len(request.GetRtSegment()))); err != nil {
			return err
		}
	}
}

// taken is the answer of a request with so many valid users.
func taken(users int) *pb.StreamSegmentsResponse {
	result := &pb.ApplySegmentsResult{Status: "OK", Message: &pb.RequestCounts{UsersInRequest: int32(users)}}
	return &pb.StreamSegmentsResponse{Outcome: &pb.StreamSegmentsResponse_Response{Response: result}}
}

// streamClient calls a service that does this with streams.
func streamClient(
	t *testing.T, stream func(serverStream) error, options ...instantaudience.Option,
) *instantaudience.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterAudienceServiceServer(server, &streamService{stream: stream})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	limits := instantaudience.Limits{UsersPerCall: 1, UsersPerSecond: 10_000_000, PostsPerSecond: 1_000_000}
	return newClient(t, listener.Addr().String(), append([]instantaudience.Option{
		instantaudience.WithToken("x"), instantaudience.WithPlaintext(), instantaudience.WithLimits(limits),
	}, options...)...)
}

// lastError is what a stream ends with.
func lastError(t *testing.T, client *instantaudience.Client, users uint64) *instantaudience.Error {
	t.Helper()
	var last *instantaudience.Error
	for _, err := range client.Stream(context.Background(), fewUsers(users)) {
		if err != nil && !errors.As(err, &last) {
			t.Fatal(err)
		}
	}
	return last
}

func TestWhatTheClientItselfSaysHasACode(t *testing.T) {
	client := newClient(t, "127.0.0.1:1", instantaudience.WithToken("x"), instantaudience.WithPlaintext())
	var said *instantaudience.Error
	if _, err := client.Limits(context.Background()); !errors.As(err, &said) || said.Code != codes.InvalidArgument {
		t.Error(err)
	}
	twice := func(stream serverStream) error {
		if err := stream.Send(taken(1)); err != nil {
			return err
		}
		return answerAll(stream)
	}
	if said := lastError(t, streamClient(t, twice), 2); said == nil || said.Code != codes.Internal {
		t.Error(said)
	}
}

func TestAStreamThatEndsWhileUsersAreToComeBeginsAgainAfterAPause(t *testing.T) {
	var told []instantaudience.Attempt
	var streams atomic.Int32
	hasEnded := make(chan struct{}, 2)
	client := streamClient(t, func(stream serverStream) error {
		if streams.Add(1) > 1 {
			return answerAll(stream)
		}
		_, _ = stream.Recv()
		return stream.Send(taken(1))
	}, instantaudience.WithAttempts(func(attempt instantaudience.Attempt) {
		told = append(told, attempt)
		hasEnded <- struct{}{}
	}), instantaudience.WithRetries(instantaudience.Retries{FirstPause: time.Millisecond}))
	users := func(yield func(*pb.RtSegment) bool) {
		fewUsers(2)(yield)
		<-hasEnded
	}
	for result, err := range client.Stream(context.Background(), users) {
		if err != nil || result.Err != nil {
			t.Error(err, result)
		}
	}
	// What has failed so is sent again after a pause.
	if len(told) != 2 || told[0].Err == nil || told[0].Err.Code != codes.Unavailable || told[1].Err != nil {
		t.Error(told)
	}
}

func TestAServiceThatIsNotThereIsWaitedForAsLongAsThePatienceLasts(t *testing.T) {
	for name, options := range map[string][]instantaudience.Option{
		"limits that are given":           {instantaudience.WithLimits(instantaudience.Limits{})},
		"limits that are asked for first": nil,
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, "127.0.0.1:1", append([]instantaudience.Option{
				instantaudience.WithToken("hbapi:1:x:y"), instantaudience.WithPlaintext(),
				instantaudience.WithStreamPatience(300 * time.Millisecond),
				instantaudience.WithRetries(instantaudience.Retries{FirstPause: time.Millisecond, MostPause: time.Millisecond}),
			}, options...)...)
			began := time.Now()
			if said := lastError(t, client, 1); !errors.Is(said, instantaudience.Unavailable) {
				t.Error(said)
			}
			if took := time.Since(began); took > 20*time.Second { // A call has 30.
				t.Error(took)
			}
		})
	}
}

func TestUsersWhoAreWaitedForUseUpNoPatience(t *testing.T) {
	const patience = 500 * time.Millisecond
	for name, isIdle := range map[string]bool{"it fails while they are waited for": true, "it fails with the next one": false} {
		t.Run(name, func(t *testing.T) {
			var streams atomic.Int32
			answered, isLate, hasFailed := make(chan struct{}), make(chan struct{}), make(chan struct{}, 2)
			client := streamClient(t, func(stream serverStream) error {
				if streams.Add(1) > 1 {
					return answerAll(stream)
				}
				_, _ = stream.Recv()
				_ = stream.Send(taken(1))
				if isIdle {
					<-isLate
				} else {
					_, _ = stream.Recv()
				}
				return status.Error(codes.Unavailable, "")
			}, instantaudience.WithStreamPatience(patience),
				instantaudience.WithRetries(instantaudience.Retries{FirstPause: time.Millisecond}),
				instantaudience.WithAttempts(func(instantaudience.Attempt) { hasFailed <- struct{}{} }))
			users := func(yield func(*pb.RtSegment) bool) {
				fewUsers(2)(yield)
				<-answered
				time.Sleep(patience + patience/10)
				close(isLate)
				if isIdle {
					<-hasFailed
				}
			}
			for result, err := range client.Stream(context.Background(), users) {
				if err != nil || result.Err != nil {
					t.Fatal(err, result)
				}
				if result.FirstUser == 0 {
					close(answered)
				}
			}
		})
	}
}

func TestWhatIsNoUTF8IsRefusedAtOnceAndAStreamGoesOn(t *testing.T) {
	client := streamClient(t, answerAll)
	noText := "\xff"
	for _, ids := range [][]string{{noText}, {noText, "1"}, {"1", noText}, {"1", noText, "1", "2"}, {noText, noText}} {
		var refused []string
		for result, err := range client.Stream(context.Background(), func(yield func(*pb.RtSegment) bool) {
			for _, id := range ids {
				if !yield(instantaudience.User(id, instantaudience.Block(7))) {
					return
				}
			}
		}) {
			if err != nil {
				t.Fatal(err)
			}
			if result.Err != nil {
				if !errors.Is(result.Err, instantaudience.InvalidRequest) {
					t.Fatal(result.Err)
				}
				refused = append(refused, ids[result.FirstUser])
			}
		}
		for _, id := range refused {
			if id != noText {
				t.Errorf("%q is refused", id)
			}
		}
		if len(refused) == 0 {
			t.Errorf("nothing of %q is refused", ids)
		}
	}
	began := time.Now()
	_, err := client.Apply(context.Background(), []*pb.RtSegment{instantaudience.User(noText, instantaudience.Block(7))})
	if !errors.Is(err, instantaudience.InvalidRequest) {
		t.Error(err)
	}
	if _, err := client.Memberships(context.Background(), "", noText); !errors.Is(err, instantaudience.InvalidRequest) {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAStreamWhoseAnswersAreNoMoreTakenIsToldAsCancelled(t *testing.T) {
	var told []instantaudience.Attempt
	client := streamClient(t, answerAll,
		instantaudience.WithAttempts(func(attempt instantaudience.Attempt) { told = append(told, attempt) }))
	for _, err := range client.Stream(context.Background(), fewUsers(2)) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(told) != 1 || told[0].Err == nil || told[0].Err.Code != codes.Canceled {
		t.Error(told)
	}
}

func TestNoMoreUsersAreReadOnceNoMoreResultsAre(t *testing.T) {
	client := streamClient(t, answerAll, instantaudience.WithLimits(instantaudience.Limits{}))
	isOver, wanted := make(chan struct{}), make(chan bool, 1)
	users := func(yield func(*pb.RtSegment) bool) {
		if yield(instantaudience.User("1", instantaudience.Block(7))) {
			<-isOver
			wanted <- yield(instantaudience.User("2", instantaudience.Block(7)))
		}
	}
	for _, err := range client.Stream(context.Background(), users) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	close(isOver)
	if <-wanted {
		t.Error("another one is to come")
	}
}
