package instantaudience

import (
	"context"
	"time"
)

const quotaWindow = quotaWindowMs * time.Millisecond

// turn is a lock; waiting for it ends with the context.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return endOf(ctx, tooLate("the caller's time was over before it could be sent"))
	}
}

func (t turn) give() {
	<-t
}

// pacer lets requests pass one after the other; in any second, no more requests and users than the limits allow,
// wherever the service's windows begin.
type pacer struct {
	turn  turn
	sent  []sending
	users int
}

type sending struct {
	at    time.Time
	users int
}

func newPacer() *pacer {
	return &pacer{turn: make(turn, 1)}
}

// wait waits until a request with this many users may be sent. If that would be after the context's deadline, it fails
// at once.
func (p *pacer) wait(ctx context.Context, users int, limits Limits) error {
	if err := p.turn.take(ctx); err != nil {
		return err
	}
	defer p.turn.give()
	for pause := p.pause(users, limits); pause > 0; pause = p.pause(users, limits) {
		late := tooLate("the member's quota leaves no room before the caller's time is over")
		if err := sleep(ctx, pause, late); err != nil {
			return err
		}
	}
	p.sent = append(p.sent, sending{time.Now(), users})
	p.users += users
	return nil
}

func (p *pacer) pause(users int, limits Limits) time.Duration {
	begin := time.Now().Add(-quotaWindow)
	for len(p.sent) > 0 && !p.sent[0].at.After(begin) {
		p.users -= p.sent[0].users
		p.sent = p.sent[1:]
	}
	// A request with more users than allowed per second is sent, for the service to refuse it.
	if len(p.sent) > 0 && (len(p.sent) >= limits.PostsPerSecond || p.users+users > limits.UsersPerSecond) {
		return p.sent[0].at.Sub(begin)
	}
	return 0
}
