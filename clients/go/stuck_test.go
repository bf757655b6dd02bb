package instantaudience

import (
	"testing"
	"time"
)

func TestTimeInWhichTheProcessWasStoppedMakesNoStreamStuckAndUsesUpNoPatience(t *testing.T) {
	before := time.Now().Add(-time.Hour)
	sent := new(request)
	sent.since.Store(&before)
	for _, pending := range [][]*request{{sent}, nil} {
		client := &Client{caller: &caller{retries: Retries{Attempt: time.Minute}}}
		one := &oneStream{
			streaming: &streaming{client: client, waitsSince: before}, pending: pending, readSince: before, looked: before,
		}
		one.look()
		if one.isStuck(true) || time.Since(one.waitsSince) > time.Minute {
			t.Error("it was not looked at for an hour")
		}
		one.readSince, one.waitsSince = before, before
		one.look()
		if !one.isStuck(true) || time.Since(one.waitsSince) < time.Minute {
			t.Error("it was looked at, and there was no answer")
		}
	}
}
