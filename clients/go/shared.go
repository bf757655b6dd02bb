package instantaudience

import (
	"context"
	"errors"
	"sync"
)

// shared has a value that one caller obtains for all that wait for it.
type shared[Value any] struct {
	turn turn

	mu sync.Mutex
	// refusal is the last error for which a retry does not help.
	refusal *Error
}

func newShared[Value any]() *shared[Value] {
	return &shared[Value]{turn: make(turn, 1)}
}

// value returns what is known (false: nothing yet), else what get obtains. Callers wait for each other only until their
// own deadlines.
func (s *shared[Value]) value(
	ctx context.Context, known func() (Value, bool, error), get func() (Value, error),
) (Value, error) {
	before := s.told()
	if value, ok, err := known(); ok || err != nil {
		return value, err
	}
	var nothing Value
	if err := s.turn.take(ctx); err != nil {
		return nothing, err
	}
	defer s.turn.give()
	if value, ok, err := known(); ok || err != nil {
		return value, err
	}
	// Only errors that this caller would get as well are shared: it may have more time, or not be cancelled.
	if now := s.told(); now != before {
		return nothing, now
	}
	value, err := get()
	// Why this one is cancelled may be such an error, too, of another call.
	if failed := new(Error); ctx.Err() == nil && errors.As(err, &failed) && !sentAgain[failed.Kind] {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refusal = failed
	}
	return value, err
}

func (s *shared[Value]) told() *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusal
}
