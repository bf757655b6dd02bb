package instantaudience

import (
	"math"
	"testing"
	"time"
)

func TestPausesGrowAsFarAsTheyMayHoweverOftenACallIsSentAgain(t *testing.T) {
	failed := &Error{Kind: Unavailable}
	for _, first := range []time.Duration{time.Nanosecond, 18 * time.Second, 24 * time.Hour} {
		retries := Retries{FirstPause: first, MostPause: 48 * time.Hour}
		for attempt := range 2000 {
			if pause, again := retries.pause(failed, attempt); !again || pause < 0 || pause > retries.MostPause {
				t.Fatalf("%v after %d attempts, where the first pause is %v", pause, attempt+1, first)
			}
		}
	}
}

func TestAPauseThatIsAskedForIsKeptHoweverLongItIs(t *testing.T) {
	retries := Retries{FirstPause: time.Second, MostPause: time.Second}
	for _, asked := range []time.Duration{time.Minute, math.MaxInt64 - time.Millisecond, math.MaxInt64} {
		pause, again := retries.pause(&Error{Kind: RateLimited, RetryAfter: asked}, 0)
		if !again || pause < asked {
			t.Errorf("%v, where %v are asked for", pause, asked)
		}
	}
}

func TestNoTimeOfRetriesIsBelowZero(t *testing.T) {
	for want, retries := range map[string]Retries{
		"FirstPause is -1ns: no time is below 0": {FirstPause: -1},
		"MostPause is -1s: no time is below 0":   {MostPause: -time.Second},
		"Attempt is -1ns: no time is below 0":    {Attempt: -1},
	} {
		if _, err := NewClient("127.0.0.1:1", WithPlaintext(), WithRetries(retries)); err == nil || err.Error() != want {
			t.Errorf("%v, not %q", err, want)
		}
	}
}
