package instantaudience

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Retries says how long to wait before a call is sent again; what is 0 is the default.
type Retries struct {
	// FirstPause is the most to wait before the second attempt, 100 ms by default; the most doubles each time.
	FirstPause time.Duration
	// MostPause is the most to wait at all, 5 s by default, but for what the service asks for.
	MostPause time.Duration
	// Attempt is what one attempt may take, 10 s by default; one that hangs is given up, and the next one begins.
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

// pause is how long to wait after the attempt (the first is 0) that failed so: what the service asks for, and a random
// time that grows, so that not all come at once. False where the call is not to be sent again.
func (r Retries) pause(failed *Error, attempt int) (time.Duration, bool) {
	if !sentAgain[failed.Kind] {
		return 0, false
	}
	// A float, as what is doubled so often may be more than a duration holds.
	most := min(float64(r.MostPause), math.Ldexp(float64(r.FirstPause), attempt))
	random := time.Duration(rand.Float64() * most)
	return min(failed.RetryAfter, math.MaxInt64-random) + random, true
}

// orElse is the value, or another one where it is zero.
func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// left is the time that a context has; false where it has no end.
func left(ctx context.Context) (time.Duration, bool) {
	deadline, ok := ctx.Deadline()
	return time.Until(deadline), ok
}

// sleep waits, unless the context ends first, or would: the error is what the caller gets then.
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

// endOf is the error of a context that has ended: what the caller gets where its time is over, the cause where it was
// cancelled.
func endOf(ctx context.Context, late error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return late
	}
	return context.Cause(ctx)
}
