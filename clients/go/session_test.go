package instantaudience

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestATokenIsUsedAsLongAsItLivesWhereTooManyHaveSignedIn(t *testing.T) {
	signIns := 0
	signIn := func(context.Context, *caller) (*pb.AuthenticateResult, error) {
		signIns++
		if signIns > 1 {
			return nil, &Error{Kind: RateLimited, RetryAfter: time.Minute}
		}
		return &pb.AuthenticateResult{Token: "a", Lifetime: durationpb.New(time.Hour)}, nil
	}
	s := newSession(context.Background(), nil, Retries{}, signIn, "")
	for call := range 3 {
		if token, err := s.get(context.Background()); token != "a" || err != nil {
			t.Fatal(token, err)
		}
		if call == 0 {
			s.ends = time.Now() // Another one is due.
		}
	}
	if signIns != 2 {
		t.Errorf("%d sign-ins", signIns)
	}
	s.ends, s.dies = time.Now(), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := s.get(ctx); !errors.Is(err, RateLimited) {
		t.Error(err)
	}
}

func TestATokenIsUsedAsLongAsItLivesWhileTheServiceIsAway(t *testing.T) {
	var signIns atomic.Int32
	s := newSession(context.Background(), nil, Retries{}, nil, "")
	s.signIn = func(ctx context.Context, _ *caller) (*pb.AuthenticateResult, error) {
		if signIns.Add(1) == 1 {
			return &pb.AuthenticateResult{Token: "a", Lifetime: durationpb.New(time.Hour)}, nil
		}
		if token, err := s.get(context.Background()); token != "a" || err != nil {
			t.Error("another call waits", token, err)
		}
		<-ctx.Done()
		return nil, &Error{Kind: DeadlineExceeded, Message: "the caller's time is over"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for call := range 3 {
		if token, err := s.get(ctx); token != "a" || err != nil {
			t.Fatal(token, err)
		}
		if call == 0 {
			s.ends = time.Now() // Another one is due.
		}
	}
	if signIns.Load() != 2 {
		t.Errorf("%d sign-ins", signIns.Load())
	}
	s.ends, s.dies = time.Now(), time.Now()
	if _, err := s.get(ctx); !errors.Is(err, DeadlineExceeded) {
		t.Error(err)
	}
}

func TestAClientThatIsClosedWhileItSignsInUsesNoToken(t *testing.T) {
	closing, end := context.WithCancelCause(context.Background())
	signIn := func(context.Context, *caller) (*pb.AuthenticateResult, error) {
		end(unavailable("the client is closed", ""))
		return nil, context.Cause(closing)
	}
	s := newSession(closing, nil, Retries{}, signIn, "a")
	s.dies = time.Now().Add(time.Hour)
	if token, err := s.get(context.Background()); !errors.Is(err, Unavailable) {
		t.Error(token, err)
	}
}

func TestACallGoesOnThatWaitsForAnotherTokenWhileItsOwnEnds(t *testing.T) {
	for name, end := range map[string]func(*session){
		"ended":   func(s *session) { s.ends, s.dies = time.Now(), time.Now() },
		"refused": func(s *session) { s.refused("a") },
	} {
		t.Run(name, func(t *testing.T) {
			signIns := 0
			s := newSession(context.Background(), nil, Retries{}, nil, "a")
			s.dies = time.Now().Add(time.Hour)
			s.signIn = func(ctx context.Context, _ *caller) (*pb.AuthenticateResult, error) {
				if signIns++; signIns == 1 {
					end(s)
					return nil, &Error{Kind: DeadlineExceeded}
				}
				if most, _ := left(ctx); most < 20*time.Second {
					t.Error("a sign-in has more time than", most)
				}
				return &pb.AuthenticateResult{Token: "b", Lifetime: durationpb.New(time.Hour)}, nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if token, err := s.get(ctx); token != "b" || err != nil {
				t.Error(token, err)
			}
		})
	}
}

func TestATokenMayEndAtAnyTime(t *testing.T) {
	for _, each := range []struct {
		said    *durationpb.Duration
		signIns int
	}{
		{nil, 1},
		{durationpb.New(time.Hour), 1},
		{&durationpb.Duration{Seconds: math.MaxInt64, Nanos: -1}, 1},
		{new(durationpb.Duration), 2},
		{&durationpb.Duration{Seconds: math.MinInt64, Nanos: -1}, 2},
	} {
		had := 0
		s := newSession(context.Background(), nil, Retries{}, nil, "")
		s.signIn = func(context.Context, *caller) (*pb.AuthenticateResult, error) {
			had++
			// By a clock that is a day ahead, ExpireTime is over: the lifetime counts.
			return &pb.AuthenticateResult{Token: "a", Lifetime: each.said, ExpireTime: timestamppb.New(time.Unix(1, 0))}, nil
		}
		for range 2 {
			if token, err := s.get(context.Background()); token != "a" || err != nil {
				t.Error(token, err)
			}
		}
		if had != each.signIns {
			t.Errorf("%d sign-ins where a token lives for %s", had, each.said)
		}
	}
}
