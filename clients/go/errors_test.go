package instantaudience

import (
	"context"
	"errors"
	"testing"
)

func TestWhatIsLateIsUnavailableToo(t *testing.T) {
	for _, kind := range []error{DeadlineExceeded, Unavailable, context.DeadlineExceeded} {
		if late := tooLate("x"); !errors.Is(late, kind) {
			t.Error(kind)
		}
	}
	for _, kind := range []error{DeadlineExceeded, context.DeadlineExceeded, RateLimited} {
		if errors.Is(unavailable("x", ""), kind) {
			t.Error(kind)
		}
	}
}
