package instantaudience

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// Option says how a client connects, who it is, and how it goes about its calls.
type Option func(*settings) error

type settings struct {
	signIn      signIn
	token       string
	named       int
	certificate *tls.Certificate
	tls         *tls.Config
	plaintext   bool
	limits      *Limits
	retries     Retries
	window      int
	patience    time.Duration
	onAttempt   func(Attempt)
	dial        []grpc.DialOption
}

// WithPassword signs in by an account's name and password.
func WithPassword(username, password string) Option {
	return func(s *settings) error {
		s.named++
		s.signIn = byPassword(username, password)
		return nil
	}
}

// WithKeyPair signs in by an account's private key in PEM form (RSA or P-256), whose public key has this name with the
// service. Such sign-ins have no limit: for services whose many processes each sign in.
func WithKeyPair(username, keyName string, privateKey []byte) Option {
	return func(s *settings) error {
		key, err := parseKey(privateKey)
		s.named++
		s.signIn = byKeyPair(username, keyName, key)
		return err
	}
}

// WithToken uses a token that somebody else has got, as long as the service takes it.
func WithToken(token string) Option {
	return func(s *settings) error {
		if !canBeSent(token) {
			return fmt.Errorf(
				"the token has characters that no token has, or more than %d; is it a line of a file, with its end?", tokenCharacters)
		}
		s.named++
		s.token = token
		return nil
	}
}

// canBeSent says whether a header holds the token.
func canBeSent(token string) bool {
	return len(token) <= tokenCharacters && !strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' })
}

// WithClientCertificate has the account that belongs to the connection's client certificate: there is no token.
func WithClientCertificate(certificate tls.Certificate) Option {
	return func(s *settings) error {
		s.named++
		s.certificate = &certificate
		return nil
	}
}

// WithTLS secures connections in this way, rather than by TLS with the system's roots.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error {
		s.tls = config
		return nil
	}
}

// WithPlaintext secures nothing.
func WithPlaintext() Option {
	return func(s *settings) error {
		s.plaintext = true
		return nil
	}
}

// WithLimits says what the member may send. Without it, the service is asked once.
func WithLimits(limits Limits) Option {
	return func(s *settings) error {
		limits = limits.orDefaults()
		s.limits = &limits
		return nil
	}
}

// WithRetries says how long to wait before a call is sent again. What is below 0 is an error.
func WithRetries(retries Retries) Option {
	return func(s *settings) error {
		if err := retries.check(); err != nil {
			return err
		}
		s.retries = retries
		return nil
	}
}

// WithStreamWindow says how many requests of a stream are under way at once, 32 by default.
func WithStreamWindow(requests int) Option {
	return func(s *settings) error {
		if requests < 1 {
			return errors.New("a stream's window is 1 at least")
		}
		s.window = requests
		return nil
	}
}

// WithStreamPatience says how long a stream goes on without any progress, 30 s by default.
func WithStreamPatience(patience time.Duration) Option {
	return func(s *settings) error {
		s.patience = patience
		return nil
	}
}

// WithAttempts has every attempt of a call told, for metrics and logs, by several goroutines at once.
func WithAttempts(tell func(Attempt)) Option {
	return func(s *settings) error {
		s.onAttempt = tell
		return nil
	}
}

// WithDialOptions adds options of gRPC's, interceptors or OpenTelemetry's handler for example.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.dial = append(s.dial, options...)
		return nil
	}
}

// settingsOf is what the options say together.
func settingsOf(options []Option) (*settings, error) {
	s := &settings{window: streamWindow, patience: deadlineMs * time.Millisecond}
	for _, option := range options {
		if err := option(s); err != nil {
			return nil, err
		}
	}
	switch {
	case s.named != 1:
		return nil, errors.New("name one of WithPassword, WithKeyPair, WithToken and WithClientCertificate")
	case s.plaintext && (s.tls != nil || s.certificate != nil):
		return nil, errors.New("WithPlaintext and TLS exclude each other")
	}
	return s, nil
}
