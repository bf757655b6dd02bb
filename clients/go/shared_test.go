package instantaudience

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func unknown() (string, bool, error) {
	return "", false, nil
}

// asked has the value's callers wait, and returns what all of them get once it is told to go on.
func asked(t *testing.T, token *shared[string], callers []context.Context, goOn func()) []error {
	t.Helper()
	looked, told := make(chan struct{}, len(callers)), make([]chan error, len(callers))
	for i, ctx := range callers {
		told[i] = make(chan error, 1)
		go func() {
			_, err := token.value(ctx, func() (string, bool, error) {
				looked <- struct{}{}
				return unknown()
			})
			told[i] <- err
		}()
	}
	for range callers {
		<-looked
	}
	goOn()
	errs := make([]error, len(callers))
	for i := range told {
		errs[i] = <-told[i]
	}
	return errs
}

func noFailure() *Error { return nil }

func TestWhatIsNoHelpToAskAgainIsToldToAllWhoWait(t *testing.T) {
	callers := slices.Repeat([]context.Context{context.Background()}, 5)
	var gets atomic.Int32
	wait := make(chan struct{})
	token := newShared(context.Background(), Retries{}, func(context.Context) (string, error) {
		gets.Add(1)
		<-wait
		return "", &Error{Kind: Unauthenticated}
	}, noFailure)
	for _, err := range asked(t, token, callers, func() { close(wait) }) {
		if !errors.Is(err, Unauthenticated) {
			t.Error(err)
		}
	}
	if gets.Load() != 1 {
		t.Errorf("asked %d times", gets.Load())
	}
	// Who comes later asks anew.
	if _, err := token.value(context.Background(), unknown); !errors.Is(err, Unauthenticated) || gets.Load() != 2 {
		t.Errorf("asked %d times, %v", gets.Load(), err)
	}
}

func TestOnlyWhoHasMoreTimeThanWhatFailedGoesOn(t *testing.T) {
	var gets atomic.Int32
	wait := make(chan struct{})
	token := newShared(context.Background(), Retries{}, func(context.Context) (string, error) {
		if gets.Add(1) > 1 {
			return "a", nil
		}
		<-wait
		return "", &Error{Kind: Unavailable}
	}, noFailure)
	hurried, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	patient, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := asked(t, token, []context.Context{hurried, patient, context.Background()}, func() { close(wait) })
	if !errors.Is(errs[0], Unavailable) || errs[1] != nil || errs[2] != nil {
		t.Error(errs)
	}
}

func TestWhatCallersWaitForGoesOnWhenTheyHaveGivenUp(t *testing.T) {
	type key struct{}
	var gets atomic.Int32
	wait := make(chan struct{})
	token := newShared(context.Background(), Retries{}, func(ctx context.Context) (string, error) {
		gets.Add(1)
		select {
		case <-wait:
			return ctx.Value(key{}).(string), nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}, noFailure)
	never := errors.New("never mind")
	cancelled, cancel := context.WithCancelCause(context.WithValue(context.Background(), key{}, "the first one's"))
	if errs := asked(t, token, []context.Context{cancelled}, func() { cancel(never) }); errs[0] != never {
		t.Error(errs)
	}
	late, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	if _, err := token.value(late, unknown); !errors.Is(err, DeadlineExceeded) {
		t.Error(err)
	}
	close(wait)
	if value, err := token.value(context.Background(), unknown); value != "the first one's" || err != nil || gets.Load() != 1 {
		t.Error(value, err, gets.Load())
	}
	// Nothing begins for who has no time left.
	if _, err := token.value(late, unknown); !errors.Is(err, DeadlineExceeded) || gets.Load() != 1 {
		t.Error(err, gets.Load())
	}
}

func TestWhatCallersWaitForHasATimeOfItsOwnAndEndsWithTheClient(t *testing.T) {
	closing, end := context.WithCancelCause(context.Background())
	closed := unavailable("the client is closed", "")
	ended := make(chan error, 1)
	token := newShared(closing, Retries{}, func(ctx context.Context) (string, error) {
		if most, ok := left(ctx); !ok || most > deadlineMs*time.Millisecond {
			t.Error(most, ok)
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return "", context.Cause(ctx)
	}, noFailure)
	late, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	if _, err := token.value(late, unknown); !errors.Is(err, DeadlineExceeded) {
		t.Error(err)
	}
	hurried, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	errs := asked(t, token, []context.Context{hurried}, func() { end(closed) })
	if errs[0] != error(closed) || <-ended != error(closed) {
		t.Error(errs)
	}
}

func TestAPanicIsThatOfWhoWaits(t *testing.T) {
	token := newShared(context.Background(), Retries{}, func(context.Context) (string, error) { panic("mine") }, noFailure)
	defer func() {
		if told := recover(); told != "mine" {
			t.Error(told)
		}
	}()
	_, _ = token.value(context.Background(), unknown)
}
