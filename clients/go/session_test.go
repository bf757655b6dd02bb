package instantaudience

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestATokenIsUsedAsLongAsItLivesWhereTooManyHaveSignedIn(t *testing.T) {
	signIns := 0
	signIn := func(context.Context, *caller) (*pb.AuthenticateResult, error) {
		signIns++
		if signIns > 1 {
			return nil, &Error{Kind: RateLimited, RetryAfter: time.Minute}
		}
		return &pb.AuthenticateResult{Token: "a", ExpireTime: timestamppb.New(time.Now().Add(time.Hour))}, nil
	}
	s := &session{signIn: signIn, signingIn: newShared[string]()}
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
	if _, err := s.get(context.Background()); !errors.Is(err, RateLimited) {
		t.Error(err)
	}
}
