package instantaudience

import (
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
