package instantaudience

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestWhatIsNoHelpToAskAgainIsToldToAllWhoWait(t *testing.T) {
	const callers = 5
	for kind, want := range map[Kind]int32{Unauthenticated: 1, DeadlineExceeded: callers} {
		var looks, gets atomic.Int32
		wait := make(chan struct{})
		known := func() (string, bool, error) {
			// All callers have looked once, and the one whose turn it is a second time.
			if looks.Add(1) == callers+1 {
				close(wait)
			}
			return "", false, nil
		}
		get := func() (string, error) {
			<-wait
			gets.Add(1)
			return "", &Error{Kind: kind}
		}
		token := newShared[string]()
		var calls sync.WaitGroup
		for range callers {
			calls.Add(1)
			go func() {
				defer calls.Done()
				if _, err := token.value(context.Background(), known, get); !errors.Is(err, kind) {
					t.Error(err)
				}
			}()
		}
		calls.Wait()
		if gets.Load() != want {
			t.Errorf("%s: asked %d times", kind, gets.Load())
		}
		// Who comes later asks anew.
		if _, err := token.value(context.Background(), known, get); !errors.Is(err, kind) || gets.Load() != want+1 {
			t.Errorf("%s: asked %d times, %v", kind, gets.Load(), err)
		}
	}
}

// The cause of a context may be any error, also one of another call: errgroup's is the first of its goroutines.
func TestWhyACallerIsCancelledIsNotToldToThoseWhoWait(t *testing.T) {
	token := newShared[string]()
	ctx, cancel := context.WithCancelCause(context.Background())
	isGetting, isWaiting := make(chan struct{}), make(chan struct{})
	unknown := func() (string, bool, error) { return "", false, nil }
	first := make(chan error, 1)
	go func() {
		_, err := token.value(ctx, unknown, func() (string, error) {
			close(isGetting)
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		first <- err
	}()
	<-isGetting
	go func() {
		<-isWaiting
		cancel(&Error{Kind: NotFound})
	}()
	looked := func() (string, bool, error) {
		select {
		case <-isWaiting:
		default:
			close(isWaiting)
		}
		return "", false, nil
	}
	value, err := token.value(context.Background(), looked, func() (string, error) { return "a", nil })
	if value != "a" || err != nil {
		t.Error(value, err)
	}
	if err := <-first; !errors.Is(err, NotFound) {
		t.Error(err)
	}
}
