package instantaudience

import (
	"context"
	"errors"
	"sync"
	"time"
)

// shared has a value that is obtained once for all callers that wait for it, by a goroutine of its own. Callers that
// give up do not end that: what takes longer than any of them waits would never be had.
type shared[Value any] struct {
	// closing is done when the client is closed.
	closing context.Context
	retries Retries
	// get obtains the value, after which it is known.
	get func(context.Context) (Value, error)
	// why is the error of the last of its attempts after which another one was to come; nil if there is none.
	why func() *Error

	mu sync.Mutex
	// getting is under way; nil if nothing is.
	getting *getting[Value]
}

// getting is what many callers wait for.
type getting[Value any] struct {
	// ends is its own deadline.
	ends time.Time
	// before is what why was when it began.
	before *Error
	// done is closed when all below is set.
	done     chan struct{}
	value    Value
	err      error
	panicked any
}

func newShared[Value any](
	closing context.Context, retries Retries, get func(context.Context) (Value, error), why func() *Error,
) *shared[Value] {
	return &shared[Value]{closing: closing, retries: retries, get: get, why: why}
}

// value returns what is known (false: nothing yet), else what is obtained. Callers wait for that only until their own
// deadlines.
func (s *shared[Value]) value(ctx context.Context, known func() (Value, bool, error)) (Value, error) {
	for failures := 0; ; failures++ {
		value, getting, err := s.begin(ctx, known)
		if getting == nil {
			return value, err
		}
		value, err = s.wait(ctx, getting)
		failed := new(Error)
		if err == nil || ctx.Err() != nil || !errors.As(err, &failed) {
			return value, err
		}
		pause, again := s.retries.pause(failed, failures)
		// Who has no more time than was spent on it would get this error as well.
		if deadline, ok := ctx.Deadline(); !again || (ok && !deadline.After(getting.ends)) {
			return value, err
		}
		if err := sleep(ctx, pause, failed); err != nil {
			return value, err
		}
	}
}

// begin returns what is known, or else (not nil) what to wait for, which begins now unless it is under way.
func (s *shared[Value]) begin(
	ctx context.Context, known func() (Value, bool, error),
) (value Value, under *getting[Value], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok, err := known()
	if ok || err != nil {
		return value, nil, err
	}
	if s.getting == nil {
		if ctx.Err() != nil {
			return value, nil, endOf(ctx, tooLate("the caller's time was over before it could be sent"))
		}
		s.getting = &getting[Value]{
			ends: time.Now().Add(deadlineMs * time.Millisecond), before: s.why(), done: make(chan struct{}),
		}
		go s.run(context.WithoutCancel(ctx), s.getting)
	}
	return value, s.getting, nil
}

// run obtains the value. It ends with the client, not with the caller whose context it has.
func (s *shared[Value]) run(ctx context.Context, getting *getting[Value]) {
	defer close(getting.done)
	defer func() {
		getting.panicked = recover()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.getting = nil
	}()
	ctx, cancel := untilClosed(ctx, s.closing)
	defer cancel()
	ctx, cancelWait := context.WithDeadline(ctx, getting.ends)
	defer cancelWait()
	getting.value, getting.err = s.get(ctx)
}

// wait returns what is obtained, if that is before the context ends. Whose deadline passes learns why the last attempt
// failed, if one has.
func (s *shared[Value]) wait(ctx context.Context, getting *getting[Value]) (Value, error) {
	select {
	case <-getting.done:
		if getting.panicked != nil {
			panic(getting.panicked)
		}
		return getting.value, getting.err
	case <-ctx.Done():
		var nothing Value
		late := tooLate("the caller's time is over")
		if why := s.why(); why != nil && why != getting.before {
			late = why
		}
		return nothing, endOf(ctx, late)
	}
}
