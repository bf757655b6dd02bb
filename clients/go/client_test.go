package instantaudience_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/instantaudience/instantaudience/clients/go"
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestOptionsThatContradictEachOtherAreRefused(t *testing.T) {
	token, plaintext := instantaudience.WithToken("x"), instantaudience.WithPlaintext()
	for name, options := range map[string][]instantaudience.Option{
		"no credentials":           {plaintext},
		"two credentials":          {plaintext, token, instantaudience.WithPassword("x", "y")},
		"TLS and none":             {plaintext, token, instantaudience.WithTLS(new(tls.Config))},
		"a key that is none":       {plaintext, instantaudience.WithKeyPair("x", "y", []byte("z"))},
		"an empty token":           {plaintext, instantaudience.WithToken("")},
		"a token and a line's end": {plaintext, instantaudience.WithToken("hbapi:1:x:y\n")},
		"no window":                {plaintext, token, instantaudience.WithStreamWindow(0)},
		"a limit below 0":          {plaintext, token, instantaudience.WithLimits(instantaudience.Limits{BodyBytes: -1})},
	} {
		if _, err := instantaudience.NewClient("127.0.0.1:1", options...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestACallThatIsCancelledFailsWithTheContextsError(t *testing.T) {
	client := newClient(t, "127.0.0.1:1", instantaudience.WithToken("x"), instantaudience.WithPlaintext())
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := client.Memberships(ctx, "", "1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAnAttemptThatIsCancelledIsTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // Nobody answers there.
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var told []instantaudience.Attempt
	client := newClient(t, listener.Addr().String(), instantaudience.WithToken("x"), instantaudience.WithPlaintext(),
		instantaudience.WithAttempts(func(attempt instantaudience.Attempt) { told = append(told, attempt) }))
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := client.Memberships(ctx, "", "1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(told) != 1 || told[0].Err == nil || told[0].Err.Code != codes.Canceled {
		t.Error(told)
	}
}

func TestAServiceThatIsNotThereIsUnavailableWhenTheTimeIsOver(t *testing.T) {
	client := newClient(t, "127.0.0.1:1", instantaudience.WithToken("x"), instantaudience.WithPlaintext())
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Memberships(ctx, "", "1"); !errors.Is(err, instantaudience.Unavailable) {
		t.Error(err)
	}
}

func TestACallThatWaitsForOthersLearnsWhatFailsWhenItsTimeIsOver(t *testing.T) {
	for name, credentials := range map[string]instantaudience.Option{
		"a sign-in":               instantaudience.WithPassword("x", "y"),
		"the question for limits": instantaudience.WithToken("hbapi:1:0:0"),
	} {
		client := newClient(t, "127.0.0.1:1", credentials, instantaudience.WithPlaintext())
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if _, err := client.Apply(ctx, nil); !errors.Is(err, instantaudience.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mute answers with messages that say nothing, but for a token.
type mute struct {
	pb.UnimplementedAudienceServiceServer
	pb.UnimplementedAuthenticationServiceServer
	pb.UnimplementedCatalogServiceServer
	token string
}

func (m mute) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return &pb.AuthenticateResponse{Response: &pb.AuthenticateResult{Token: m.token}}, nil
}

func (mute) GetUser(context.Context, *pb.GetUserRequest) (*pb.GetUserResponse, error) {
	return new(pb.GetUserResponse), nil
}

func (mute) ApplySegments(context.Context, *pb.ApplySegmentsRequest) (*pb.ApplySegmentsResponse, error) {
	return new(pb.ApplySegmentsResponse), nil
}

func (mute) BatchGetMemberships(
	context.Context, *pb.BatchGetMembershipsRequest,
) (*pb.BatchGetMembershipsResponse, error) {
	return new(pb.BatchGetMembershipsResponse), nil
}

func TestAnAnswerThatSaysNothingIsADefectOfTheService(t *testing.T) {
	const token = "hbapi:1:0:0"
	ctx := context.Background()
	known := instantaudience.WithLimits(instantaudience.Limits{})
	apply := func(client *instantaudience.Client) error {
		_, err := client.Apply(ctx, nil)
		return err
	}
	read := func(client *instantaudience.Client) error {
		_, err := client.Memberships(ctx, "", "1")
		return err
	}
	ask := func(client *instantaudience.Client) error {
		_, err := client.Limits(ctx)
		return err
	}
	for name, each := range map[string]struct {
		token   string
		options []instantaudience.Option
		call    func(*instantaudience.Client) error
	}{
		"applied":                         {token, []instantaudience.Option{known}, apply},
		"read":                            {token, nil, read},
		"asked for limits":                {token, nil, ask},
		"signed in, without a token":      {"", nil, read},
		"signed in, with a line's end":    {"a\n", nil, read},
		"signed in, with another letter":  {"é", nil, read},
		"signed in, with too much of one": {strings.Repeat("x", 4097), nil, read},
	} {
		var told []instantaudience.Attempt
		endpoint := serve(t, mute{token: each.token}, nil)
		client := newClient(t, endpoint, append(each.options,
			instantaudience.WithPassword("demo", "demo"), instantaudience.WithPlaintext(),
			instantaudience.WithAttempts(func(attempt instantaudience.Attempt) { told = append(told, attempt) }))...)
		err := each.call(client)
		var failed *instantaudience.Error
		if !errors.As(err, &failed) || failed.Kind != instantaudience.Internal {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if last := told[len(told)-1]; failed.RequestID == "" || failed.RequestID != last.RequestID || last.Err != failed {
			t.Errorf("%s: %v, where %v was told", name, err, last)
		}
	}
}

func TestAClientThatIsClosedSendsNothing(t *testing.T) {
	var told []instantaudience.Attempt
	client := newClient(t, "127.0.0.1:1", instantaudience.WithToken("hbapi:1:0:0"), instantaudience.WithPlaintext(),
		instantaudience.WithAttempts(func(attempt instantaudience.Attempt) { told = append(told, attempt) }))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	_, applied := client.Apply(context.Background(), nil)
	_, read := client.Memberships(context.Background(), "", "1")
	for _, err := range []error{applied, read} {
		if !errors.Is(err, instantaudience.Unavailable) || !strings.Contains(err.Error(), "the client is closed") {
			t.Error(err)
		}
	}
	if len(told) > 0 {
		t.Error(told)
	}
}

func TestACertificateStandsForATokenAndAttemptsAreTold(t *testing.T) {
	certificate, pool := selfSigned(t)
	noting := &notingService{}
	endpoint := serve(t, noting, &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})
	var mu sync.Mutex
	var told []instantaudience.Attempt
	client := newClient(t, endpoint,
		instantaudience.WithClientCertificate(certificate),
		instantaudience.WithTLS(&tls.Config{RootCAs: pool}),
		instantaudience.WithAttempts(func(attempt instantaudience.Attempt) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, attempt)
		}))
	if _, err := client.Memberships(context.Background(), "", "1"); err != nil {
		t.Fatal(err)
	}
	if len(noting.metadata.Get("authorization")) != 0 {
		t.Error("there is a token")
	}
	if len(told) != 1 || told[0].Err != nil || told[0].RequestID != noting.metadata.Get("x-request-id")[0] {
		t.Error(told)
	}
}

func TestAnRSAKeySigns(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	noting := &notingService{}
	endpoint := serve(t, noting, nil)
	client := newClient(t, endpoint, instantaudience.WithKeyPair("demo", "pods", text), instantaudience.WithPlaintext())
	if _, err := client.Memberships(context.Background(), "", "1"); err != nil {
		t.Fatal(err)
	}
	if !verifies(&key.PublicKey, noting.jwt) {
		t.Error("the JWT is not signed by the key")
	}
	if token := noting.metadata.Get("authorization"); len(token) != 1 || token[0] != "hbapi:1:0:0" {
		t.Error(token)
	}
}

func TestATokenIsGotOnceAndAgainBeforeItEnds(t *testing.T) {
	for lives, again := range map[time.Duration]bool{time.Hour: false, time.Second: true} {
		noting := &notingService{lives: lives}
		client := newClient(t, serve(t, noting, nil),
			instantaudience.WithPassword("demo", "demo"), instantaudience.WithPlaintext())
		for range 2 {
			if _, err := client.Memberships(context.Background(), "", "1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(920 * time.Millisecond) // Of a second's life, less than a tenth is left then.
		}
		if got := noting.signIns.Load(); (got > 1) != again {
			t.Errorf("%d sign-ins where tokens live for %v", got, lives)
		}
	}
}

// away takes the third sign-in only, and notes the assertions.
type away struct {
	mute
	assertions *[]string
}

func (a away) AuthenticateWithJwt(
	_ context.Context, request *pb.AuthenticateWithJwtRequest,
) (*pb.AuthenticateWithJwtResponse, error) {
	*a.assertions = append(*a.assertions, request.GetJwt())
	if len(*a.assertions) < 3 {
		return nil, status.Error(codes.Unavailable, "away")
	}
	return &pb.AuthenticateWithJwtResponse{Response: &pb.AuthenticateResult{Token: "hbapi:1:0:0"}}, nil
}

// The service takes no assertion that is older than five minutes, and a call may take longer.
func TestEachAttemptOfASignInHasAnAssertionOfItsOwn(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	var assertions []string
	client := newClient(t, serve(t, away{assertions: &assertions}, nil),
		instantaudience.WithKeyPair("demo", "pods", pair), instantaudience.WithPlaintext(),
		instantaudience.WithRetries(instantaudience.Retries{MostPause: time.Millisecond}))
	if _, err := client.Limits(context.Background()); !errors.Is(err, instantaudience.Internal) {
		t.Error(err) // It has signed in; the answer about the user says nothing.
	}
	slices.Sort(assertions)
	if different := slices.Compact(slices.Clone(assertions)); len(assertions) != 3 || len(different) != 3 {
		t.Errorf("%d assertions, %d of them different", len(assertions), len(different))
	}
}

func TestMethodsOfStubsAreSentAgainWhereTheirProtoFileSaysThatThisIsSafe(t *testing.T) {
	for name, want := range map[string]struct {
		call  func(context.Context, pb.CatalogServiceClient) error
		cause pb.ErrorCause
		calls int32
	}{
		"what only reads":  {getUser, pb.ErrorCause_ERROR_CAUSE_UNREACHABLE, 2},
		"what creates":     {createSegment, pb.ErrorCause_ERROR_CAUSE_UNREACHABLE, 1},
		"what was refused": {createSegment, pb.ErrorCause_ERROR_CAUSE_OVERLOADED, 2},
	} {
		service := &notingService{failsWith: want.cause}
		client := newClient(t, serve(t, service, nil), instantaudience.WithToken("x"), instantaudience.WithPlaintext())
		err := want.call(context.Background(), pb.NewCatalogServiceClient(client.Conn()))
		if isAnswered := err == nil; isAnswered != (want.calls == 2) || service.calls.Load() != want.calls {
			t.Errorf("%s: %d calls, %v", name, service.calls.Load(), err)
		}
		if err != nil && !errors.Is(err, instantaudience.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func getUser(ctx context.Context, catalog pb.CatalogServiceClient) error {
	_, err := catalog.GetUser(ctx, new(pb.GetUserRequest))
	return err
}

func createSegment(ctx context.Context, catalog pb.CatalogServiceClient) error {
	_, err := catalog.CreateSegment(ctx, new(pb.CreateSegmentRequest))
	return err
}

func TestTheServiceBehindTLS(t *testing.T) {
	service := liveService(t)
	roots, err := os.ReadFile(service["TLS_ROOTS"])
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(service["TLS_CERT"], service["TLS_KEY"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	client := newClient(t, service["TLS"], instantaudience.WithToken(service["TOKEN"]),
		instantaudience.WithTLS(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}))
	if _, err := client.Memberships(context.Background(), "", "1"); err != nil {
		t.Error(err)
	}
	if _, err := pb.NewStatusServiceClient(client.Conn()).GetStatus(context.Background(), nil); err != nil {
		t.Error(err)
	}
}

// notingService notes what comes, and knows nobody.
type notingService struct {
	pb.UnimplementedAudienceServiceServer
	pb.UnimplementedAuthenticationServiceServer
	pb.UnimplementedCatalogServiceServer
	metadata metadata.MD
	jwt      string
	// lives is the lifetime of tokens for passwords.
	lives   time.Duration
	signIns atomic.Int32
	// failsWith is the cause that the first call of the catalog fails with.
	failsWith pb.ErrorCause
	calls     atomic.Int32
}

// failsFirst is the first call's failure.
func (n *notingService) failsFirst() error {
	if n.calls.Add(1) > 1 {
		return nil
	}
	cause := strings.TrimPrefix(n.failsWith.String(), "ERROR_CAUSE_")
	failed, err := status.New(codes.Unavailable, "busy").WithDetails(
		&errdetails.ErrorInfo{Reason: instantaudience.ReasonSystem, Metadata: map[string]string{"cause": cause}})
	if err != nil {
		return err
	}
	return failed.Err()
}

func (n *notingService) GetUser(context.Context, *pb.GetUserRequest) (*pb.GetUserResponse, error) {
	return new(pb.GetUserResponse), n.failsFirst()
}

func (n *notingService) CreateSegment(context.Context, *pb.CreateSegmentRequest) (*pb.CreateSegmentResponse, error) {
	return new(pb.CreateSegmentResponse), n.failsFirst()
}

func (n *notingService) BatchGetMemberships(
	ctx context.Context, request *pb.BatchGetMembershipsRequest,
) (*pb.BatchGetMembershipsResponse, error) {
	n.metadata, _ = metadata.FromIncomingContext(ctx)
	users := make([]*pb.UserMemberships, len(request.GetUsers()))
	for index := range users {
		users[index] = new(pb.UserMemberships)
	}
	return &pb.BatchGetMembershipsResponse{Response: &pb.GetMembershipsResult{RtSegment: users}}, nil
}

func (n *notingService) AuthenticateWithJwt(
	_ context.Context, request *pb.AuthenticateWithJwtRequest,
) (*pb.AuthenticateWithJwtResponse, error) {
	n.jwt = request.GetJwt()
	return &pb.AuthenticateWithJwtResponse{Response: &pb.AuthenticateResult{Token: "hbapi:1:0:0"}}, nil
}

func (n *notingService) Authenticate(
	context.Context, *pb.AuthenticateRequest,
) (*pb.AuthenticateResponse, error) {
	n.signIns.Add(1)
	result := &pb.AuthenticateResult{Token: "hbapi:1:0:0", Lifetime: durationpb.New(n.lives)}
	return &pb.AuthenticateResponse{Response: result}, nil
}

// allServices are those that a client calls by itself.
type allServices interface {
	pb.AudienceServiceServer
	pb.AuthenticationServiceServer
	pb.CatalogServiceServer
}

func serve(t *testing.T, service allServices, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	pb.RegisterAudienceServiceServer(server, service)
	pb.RegisterAuthenticationServiceServer(server, service)
	pb.RegisterCatalogServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// selfSigned is a certificate for this machine, and who believes it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, pool
}

func verifies(key *rsa.PublicKey, jwt string) bool {
	cut := strings.LastIndex(jwt, ".")
	signature, err := base64.RawURLEncoding.DecodeString(jwt[cut+1:])
	digest := sha256.Sum256([]byte(jwt[:cut]))
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
}

// slowService keeps sign-ins waiting until they may go on, or are given up.
type slowService struct {
	*notingService
	begun, goOn, givenUp chan struct{}
}

func (s slowService) Authenticate(
	ctx context.Context, request *pb.AuthenticateRequest,
) (*pb.AuthenticateResponse, error) {
	s.begun <- struct{}{}
	select {
	case <-s.goOn:
		return s.notingService.Authenticate(ctx, request)
	case <-ctx.Done():
		s.givenUp <- struct{}{}
		return nil, ctx.Err()
	}
}

func TestASignInGoesOnUntilItIsDoneOrTheClientIsClosed(t *testing.T) {
	for _, isClosed := range []bool{false, true} {
		noting := &notingService{lives: time.Hour}
		slow := slowService{noting, make(chan struct{}, 9), make(chan struct{}), make(chan struct{}, 9)}
		var told atomic.Int32
		client := newClient(t, serve(t, slow, nil),
			instantaudience.WithPassword("demo", "demo"), instantaudience.WithPlaintext(),
			instantaudience.WithAttempts(func(instantaudience.Attempt) { told.Add(1) }))
		cancelled, cancel := context.WithCancel(context.Background())
		go func() {
			<-slow.begun
			cancel()
		}()
		if _, err := client.Memberships(cancelled, "", "1"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
			if _, err := client.Memberships(ctx, "", "1"); !errors.Is(err, instantaudience.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if isClosed {
			_ = client.Close()
			<-slow.givenUp
			continue
		}
		close(slow.goOn)
		if _, err := client.Memberships(context.Background(), "", "1"); err != nil {
			t.Error(err)
		}
		if noting.signIns.Load() != 1 || len(slow.begun) != 0 || told.Load() != 2 {
			t.Error(noting.signIns.Load(), len(slow.begun), told.Load())
		}
	}
}
