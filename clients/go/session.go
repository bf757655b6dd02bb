package instantaudience

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// unknownLife is how long a token is used that nobody knows an end of: until the service does not take it.
const unknownLife = math.MaxInt64

// session is the token of a client: got once for all calls, and again when it ends.
type session struct {
	// public makes the calls that sign in.
	public *caller
	// signIn gets a token; nil where there is none to get.
	signIn    signIn
	signingIn *shared[string]

	// closing ends when the client is closed.
	closing context.Context

	mu    sync.Mutex
	token string
	// ends is when another one is asked for.
	ends time.Time
	// dies is when the one at hand ends.
	dies time.Time
}

func newSession(closing context.Context, public *caller, signIn signIn, token string) *session {
	return &session{closing: closing, public: public, signIn: signIn, signingIn: newShared[string](), token: token}
}

// get is the token to call with; "" where none is needed. Where the client is closed, there is none any more: nothing is
// sent, or sent again.
func (s *session) get(ctx context.Context) (string, error) {
	return s.signingIn.value(ctx, s.standing, func() (string, error) { return s.renew(ctx) })
}

func (s *session) renew(ctx context.Context) (string, error) {
	bound, cancel, isBrief := s.bound(ctx)
	defer cancel()
	issued, err := s.signIn(bound, s.public)
	if failed := new(Error); isBrief && errors.As(err, &failed) && sentAgain[failed.Kind] {
		if token := s.atHand(failed); token != "" {
			return token, nil
		}
		return s.renew(ctx) // It has ended meanwhile, or was refused: now there is none but another one.
	}
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, lifetime := time.Now(), time.Duration(unknownLife)
	if said := issued.GetLifetime(); said != nil {
		lifetime = max(0, said.AsDuration())
	}
	s.token, s.ends, s.dies = issued.GetToken(), now.Add(lifetime/100*renewalPercent), now.Add(lifetime)
	return s.token, nil
}

// bound is how long signing in may take. A token is good as long as it lives: where there is one, nobody else waits for
// another one, and this call does not for long (true then).
func (s *session) bound(ctx context.Context) (context.Context, context.CancelFunc, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.lives(now) {
		return ctx, func() {}, false
	}
	s.ends = now.Add(min(renewalPauseSeconds*time.Second, s.dies.Sub(now)))
	wait := renewalSeconds * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, deadline.Sub(now)/2)
	}
	bound, cancel := context.WithTimeout(ctx, wait)
	return bound, cancel, true
}

// atHand is the token that there is, as long as it lives, where signing in failed for now; else "".
func (s *session) atHand(failed *Error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.lives(now) {
		return ""
	}
	if failed.Kind == RateLimited {
		s.ends = now.Add(min(failed.RetryAfter, s.dies.Sub(now)))
	}
	return s.token
}

// lives says whether there is a token to use.
func (s *session) lives(now time.Time) bool {
	return s.closing.Err() == nil && s.token != "" && now.Before(s.dies)
}

func (s *session) standing() (token string, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return "", false, context.Cause(s.closing)
	}
	return s.token, s.signIn == nil || (s.token != "" && time.Now().Before(s.ends)), nil
}

// refused says that the service did not take this token; it answers whether another one can be had.
func (s *session) refused(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signIn != nil && s.token == token {
		s.token = ""
	}
	return s.signIn != nil
}
