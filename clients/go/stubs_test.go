//go:build go1.25

package instantaudience

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

func TestAStreamOfTheStubsWaitsForASignInAsLongAsACallDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := NewClient("127.0.0.1:1", WithPassword("demo", "demo"), WithPlaintext())
		if err != nil {
			t.Fatal(err)
		}
		client.session.signIn = func(context.Context, *caller) (*pb.AuthenticateResult, error) {
			return nil, unavailable("the service is away", "")
		}
		defer client.Close()
		defer time.AfterFunc(time.Hour, func() { client.Close() }).Stop()
		began := time.Now()
		_, err = pb.NewCatalogServiceClient(client.Conn()).ImportCatalog(context.Background())
		if took := time.Since(began); !errors.Is(err, Unavailable) || took > deadlineMs*time.Millisecond {
			t.Error(err, took)
		}
	})
}
