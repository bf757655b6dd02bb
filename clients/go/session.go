package instantaudience

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// unknownLife is the lifetime of a token without a known end: it is used until the service rejects it.
const unknownLife = math.MaxInt64

// session has the token of a client: obtained once for all calls, and renewed before it ends.
type session struct {
	// public makes the calls that sign in.
	public *caller
	// signIn obtains a token; nil if there is none to obtain.
	signIn    signIn
	signingIn *shared[string]

	// closing is done when the client is closed.
	closing context.Context

	mu    sync.Mutex
	token string
	// ends is when the token is to be renewed.
	ends time.Time
	// dies is when the token ends.
	dies time.Time
}

func newSession(closing context.Context, public *caller, retries Retries, signIn signIn, token string) *session {
	s := &session{closing: closing, public: public, signIn: signIn, token: token}
	s.signingIn = newShared(closing, retries, s.obtain, s.why)
	return s
}

// get returns the token for a call; "" if none is needed. It fails if the client is closed, so that nothing is sent any
// more.
func (s *session) get(ctx context.Context) (string, error) {
	atHand, brief := s.due(ctx)
	if atHand == "" {
		return s.signingIn.value(ctx, s.standing)
	}
	short, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	token, err := s.signingIn.value(short, func() (string, bool, error) {
		token, ok, err := s.standing()
		return token, ok && token != atHand, err
	})
	if failed := new(Error); errors.As(err, &failed) && sentAgain[failed.Kind] {
		if token := s.atHand(failed); token != "" {
			return token, nil
		}
		return s.signingIn.value(ctx, s.standing) // It has ended meanwhile, or was refused.
	}
	return token, err
}

// obtain signs in.
func (s *session) obtain(ctx context.Context) (string, error) {
	issued, err := s.signIn(ctx, s.public)
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

// why returns the error of the last attempt to sign in after which another one was to come; nil if there is none.
func (s *session) why() *Error {
	if s.public == nil {
		return nil
	}
	return s.public.failure.Load()
}

// due returns the token if it is still valid, but is to be renewed by this call, and how long that may take: no other
// call waits for the renewal, and this one waits only briefly.
func (s *session) due(ctx context.Context) (string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.signIn == nil || !s.lives(now) || now.Before(s.ends) {
		return "", 0
	}
	s.ends = now.Add(min(renewalPauseSeconds*time.Second, s.dies.Sub(now)))
	brief := renewalSeconds * time.Second
	if left, ok := left(ctx); ok {
		brief = min(brief, left/2)
	}
	return s.token, brief
}

// atHand returns the old token, if it is still valid and signing in failed temporarily; else "".
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

// lives reports whether there is a valid token.
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

// refused notes that the service rejected this token, and reports whether a new one can be obtained.
func (s *session) refused(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signIn != nil && s.token == token {
		s.token = ""
	}
	return s.signIn != nil
}

// ended returns why a call with this context has to end: the client is closed, or the caller has cancelled it; else nil.
// Contexts end a moment after their client is closed: the connection may have been closed before.
func (s *session) ended(ctx context.Context) error {
	switch {
	case s.closing.Err() != nil:
		return context.Cause(s.closing)
	case ctx.Err() == context.Canceled:
		return context.Cause(ctx)
	}
	return nil
}
