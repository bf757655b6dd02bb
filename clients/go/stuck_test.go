package instantaudience

import (
	"testing"
	"time"
)

func TestTimeInWhichTheProcessWasStoppedMakesNoStreamStuck(t *testing.T) {
	before := time.Now().Add(-time.Hour)
	sent := new(request)
	sent.since.Store(&before)
	for _, pending := range [][]*request{{sent}, nil} {
		client := &Client{caller: &caller{retries: Retries{Attempt: time.Minute}}}
		one := &oneStream{
			streaming: &streaming{client: client}, pending: pending, readSince: before, looked: before,
		}
		if one.isStuck(true) {
			t.Error("it was not looked at for an hour")
		}
		one.readSince = before
		if !one.isStuck(true) {
			t.Error("it was looked at, and there was no answer")
		}
	}
}
