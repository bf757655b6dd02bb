package instantaudience

import (
	"context"
	"errors"
	"sync"
)

// shared has one caller get what all want who come meanwhile.
type shared[Value any] struct {
	turn turn

	mu sync.Mutex
	// refusal is what the last one was told to whom asking again is no help.
	refusal *Error
}

func newShared[Value any]() *shared[Value] {
	return &shared[Value]{turn: make(turn, 1)}
}

// value is what is known (false: nothing yet), or else what get gets; whoever waits for another's waits no longer than its
// own time.
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
	// Another caller may have more time, or may not have given up: only what it would be told as well is told to it.
	if now := s.told(); now != before {
		return nothing, now
	}
	value, err := get()
	if failed := new(Error); errors.As(err, &failed) && !sentAgain[failed.Kind] {
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
