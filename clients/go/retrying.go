package instantaudience

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Retries has the pauses before retries; zero values stand for the defaults.
type Retries struct {
	// FirstPause is the maximum pause before the second attempt, 100 ms by default; the maximum doubles with each attempt.
	FirstPause time.Duration
	// MostPause is the upper bound of the pauses, 5 s by default, not counting delays that the service asks for.
	MostPause time.Duration
	// Attempt is the timeout of one attempt, 10 s by default; one that hangs is abandoned, and the next one begins.
	Attempt time.Duration
}

func (r Retries) check() error {
	for _, each := range []struct {
		name string
		time time.Duration
	}{{"FirstPause", r.FirstPause}, {"MostPause", r.MostPause}, {"Attempt", r.Attempt}} {
		if each.time < 0 {
			return fmt.Errorf("%s is %v: no time is below 0", each.name, each.time)
		}
	}
	return nil
}

func (r Retries) orDefaults() Retries {
	return Retries{
		FirstPause: orElse(r.FirstPause, firstPauseMs*time.Millisecond),
		MostPause:  orElse(r.MostPause, mostPauseMs*time.Millisecond),
		Attempt:    orElse(r.Attempt, attemptMs*time.Millisecond),
	}
}

// pause returns the pause after an attempt (the first is 0) that failed with this error: the delay that the service
// asks for, plus a random time that grows with the attempts. False if the call is not to be retried.
func (r Retries) pause(failed *Error, attempt int) (time.Duration, bool) {
	if !sentAgain[failed.Kind] {
		return 0, false
	}
	// As a float, since doubling that often may exceed a duration.
	most := min(float64(r.MostPause), math.Ldexp(float64(r.FirstPause), attempt))
	random := time.Duration(rand.Float64() * most)
	return min(failed.RetryAfter, math.MaxInt64-random) + random, true
}

// orElse returns the value, or otherwise if it is zero.
func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// left returns the time until the context's deadline; false if it has none.
func left(ctx context.Context) (time.Duration, bool) {
	deadline, ok := ctx.Deadline()
	return time.Until(deadline), ok
}

// sleep waits, unless the context ends before that; then it returns the error for the caller.
func sleep(ctx context.Context, pause time.Duration, otherwise error) error {
	if most, ok := left(ctx); ok && pause >= most {
		return otherwise
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		if most, ok := left(ctx); ok && most <= 0 {
			return otherwise
		}
		return nil
	case <-ctx.Done():
		return endOf(ctx, otherwise)
	}
}

// endOf returns the error of a context that has ended: late if its deadline has passed, the cause if it was cancelled.
func endOf(ctx context.Context, late error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return late
	}
	return context.Cause(ctx)
}
