package instantaudience

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// Option configures a client: how it connects and signs in, and how it makes calls.
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

// WithPassword signs in with an account's user name and password.
func WithPassword(username, password string) Option {
	return func(s *settings) error {
		s.named++
		s.signIn = byPassword(username, password)
		return nil
	}
}

// WithKeyPair signs in with an account's private key in PEM form (RSA or P-256); keyName is the name of its public key
// at the service. Such sign-ins are not rate limited, so they suit services with many processes.
func WithKeyPair(username, keyName string, privateKey []byte) Option {
	return func(s *settings) error {
		key, err := parseKey(privateKey)
		s.named++
		s.signIn = byKeyPair(username, keyName, key)
		return err
	}
}

// WithToken uses a token that was obtained elsewhere, until the service rejects it. An empty one is an error.
func WithToken(token string) Option {
	return func(s *settings) error {
		if token == "" {
			return errors.New("the token is empty; is it of a variable that is not set?")
		}
		if !canBeSent(token) {
			return fmt.Errorf(
				"the token has characters that no token has, or more than %d; is it a line of a file, with its end?", tokenCharacters)
		}
		s.named++
		s.token = token
		return nil
	}
}

// canBeSent reports whether the token can be sent in a header.
func canBeSent(token string) bool {
	return len(token) <= tokenCharacters && !strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' })
}

// WithClientCertificate identifies the account by the connection's client certificate; there is no token.
func WithClientCertificate(certificate tls.Certificate) Option {
	return func(s *settings) error {
		s.named++
		s.certificate = &certificate
		return nil
	}
}

// WithTLS sets the TLS configuration; the default is TLS with the system's roots.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error {
		s.tls = config
		return nil
	}
}

// WithPlaintext disables TLS.
func WithPlaintext() Option {
	return func(s *settings) error {
		s.plaintext = true
		return nil
	}
}

// WithLimits sets the member's limits. Without it, they are requested from the service once. Negative values are an
// error.
func WithLimits(limits Limits) Option {
	return func(s *settings) error {
		if err := limits.check(); err != nil {
			return err
		}
		limits = limits.orDefaults()
		s.limits = &limits
		return nil
	}
}

// WithRetries sets the pauses between attempts. Negative values are an error.
func WithRetries(retries Retries) Option {
	return func(s *settings) error {
		if err := retries.check(); err != nil {
			return err
		}
		s.retries = retries
		return nil
	}
}

// WithStreamWindow sets the maximum number of a stream's requests in flight, 32 by default.
func WithStreamWindow(requests int) Option {
	return func(s *settings) error {
		if requests < 1 {
			return errors.New("a stream's window is 1 at least")
		}
		s.window = requests
		return nil
	}
}

// WithStreamPatience sets how long a stream may go on without progress, 30 s by default.
func WithStreamPatience(patience time.Duration) Option {
	return func(s *settings) error {
		s.patience = patience
		return nil
	}
}

// WithAttempts has a function called after every attempt of a call, possibly by several goroutines at once.
func WithAttempts(tell func(Attempt)) Option {
	return func(s *settings) error {
		s.onAttempt = tell
		return nil
	}
}

// WithDialOptions adds gRPC dial options, such as interceptors or OpenTelemetry's stats handler.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.dial = append(s.dial, options...)
		return nil
	}
}

// settingsOf applies the options.
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
