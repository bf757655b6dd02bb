package instantaudience_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/instantaudience/instantaudience/clients/go"
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// closedMeanwhile checks that a call, which would go on for minutes, ends when its client is closed.
func closedMeanwhile(t *testing.T, client *instantaudience.Client, isAtIt <-chan struct{}, call func() error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- call() }()
	<-isAtIt
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-ended:
		var said *instantaudience.Error
		if !errors.As(err, &said) || said.Kind != instantaudience.Unavailable || said.Message != "the client is closed" {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the call goes on")
	}
}

func TestCallsThatComeLaterFail(t *testing.T) {
	client := newClient(t, "127.0.0.1:1", instantaudience.WithToken("x"), instantaudience.WithPlaintext(),
		instantaudience.WithLimits(instantaudience.Limits{}))
	client.Close()
	ctx := context.Background()
	_, none := client.Memberships(ctx, "")
	_, limits := client.Limits(ctx)
	_, applied := client.Apply(ctx, nil)
	var streamed error
	for _, streamed = range client.Stream(ctx, slices.Values([]*pb.RtSegment{})) {
	}
	for _, err := range []error{none, limits, applied, streamed} {
		if err == nil || err.Error() != "Unavailable: the client is closed" {
			t.Error(err)
		}
	}
}

// waiting gives so many users, and then none before the test ends.
func waiting(t *testing.T, users int, isAtIt chan<- struct{}) iter.Seq[*pb.RtSegment] {
	isOver := make(chan struct{})
	t.Cleanup(func() { close(isOver) })
	return func(yield func(*pb.RtSegment) bool) {
		for range users {
			if !yield(instantaudience.User("1", instantaudience.Block(7))) {
				return
			}
		}
		close(isAtIt)
		<-isOver
	}
}

func TestAStreamThatWaitsForUsersEndsWithItsClient(t *testing.T) {
	for _, users := range []int{0, 2} {
		isAtIt := make(chan struct{})
		client := streamClient(t, answerAll)
		closedMeanwhile(t, client, isAtIt, func() error {
			var last error
			for _, err := range client.Stream(context.Background(), waiting(t, users, isAtIt)) {
				last = err
			}
			return last
		})
	}
}

func TestACallThatPausesEndsWithItsClient(t *testing.T) {
	isAtIt := make(chan struct{}, 1)
	client := newClient(t, "127.0.0.1:1",
		instantaudience.WithToken("x"), instantaudience.WithPlaintext(),
		instantaudience.WithRetries(instantaudience.Retries{FirstPause: 24 * time.Hour, MostPause: 24 * time.Hour}),
		instantaudience.WithAttempts(func(instantaudience.Attempt) { isAtIt <- struct{}{} }))
	ctx, cancel := context.WithTimeout(context.Background(), 48*time.Hour)
	defer cancel()
	closedMeanwhile(t, client, isAtIt, func() error {
		_, err := client.Memberships(ctx, "", "1")
		return err
	})
}

func TestAStreamOfTheStubsThatSignsInEndsWithItsClient(t *testing.T) {
	isAtIt := make(chan struct{}, 1)
	client := newClient(t, "127.0.0.1:1",
		instantaudience.WithPassword("demo", "demo"), instantaudience.WithPlaintext(),
		instantaudience.WithRetries(instantaudience.Retries{FirstPause: 24 * time.Hour, MostPause: 24 * time.Hour}),
		instantaudience.WithAttempts(func(instantaudience.Attempt) { isAtIt <- struct{}{} }))
	ctx, cancel := context.WithTimeout(context.Background(), 48*time.Hour)
	defer cancel()
	closedMeanwhile(t, client, isAtIt, func() error {
		_, err := pb.NewCatalogServiceClient(client.Conn()).ImportCatalog(ctx)
		return err
	})
}

func TestAStreamEndsWithItsContextAtAnyMoment(t *testing.T) {
	client := streamClient(t, answerAll)
	never := errors.New("never mind")
	for range 50 {
		ctx, cancel := context.WithCancelCause(context.Background())
		ended := make(chan error, 1)
		go func() {
			var last error
			for _, err := range client.Stream(ctx, waiting(t, 2, make(chan struct{}, 1))) {
				last = err
				go cancel(never) // Now or later, while the stream waits for users.
			}
			ended <- last
		}()
		select {
		case err := <-ended:
			if !errors.Is(err, never) {
				t.Fatal(err)
			}
		case <-time.After(8 * time.Second):
			t.Fatal("the stream goes on")
		}
	}
}
