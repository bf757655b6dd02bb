// Package instantaudience is the client of the Instant Audience service, which puts users into audience segments and
// takes them out. The generated messages and stubs are in its package instantaudiencev1.
package instantaudience

import (
	"context"
	"crypto/tls"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Client puts users into segments, and reads memberships.
//
// It signs in with the first call and renews the token before it ends; retries what is safe and useful to retry, within
// the deadline of the caller's context (30 seconds if it has none); keeps to the member's quota; and splits requests
// that are too large. All calls of a client share one connection and one token, so make one client and keep it. It may
// be used by any number of goroutines.
type Client struct {
	conn     *grpc.ClientConn
	caller   *caller
	session  *session
	pacer    *pacer
	reading  *pacer
	window   int
	patience time.Duration

	asking *shared[Limits]
	limits atomic.Pointer[Limits]
	// closing is done when the client is closed; end closes it, for the given reason.
	closing context.Context
	end     context.CancelCauseFunc
}

// NewClient creates a client of host:port, with brackets around an IPv6 address. It is secured by TLS unless
// WithPlaintext is given, and needs exactly one of WithPassword, WithKeyPair, WithToken and WithClientCertificate. The
// connection is made by the first call.
func NewClient(endpoint string, options ...Option) (*Client, error) {
	if err := checkEndpoint(endpoint); err != nil {
		return nil, err
	}
	s, err := settingsOf(options)
	if err != nil {
		return nil, err
	}
	retries := s.retries.orDefaults()
	conn, err := grpc.NewClient(endpoint, append([]grpc.DialOption{
		grpc.WithTransportCredentials(security(s)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveBytes)),
		// Failed calls are retried by the client itself.
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: pingEveryMs * time.Millisecond, Timeout: pingAnswerMs * time.Millisecond,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: retries.FirstPause, Multiplier: 2, Jitter: 0.2, MaxDelay: retries.MostPause,
			},
			MinConnectTimeout: retries.Attempt,
		}),
	}, s.dial...)...)
	if err != nil {
		return nil, err
	}
	closing, end := context.WithCancelCause(context.Background())
	publicSession := newSession(closing, nil, retries, nil, "")
	// Signing in twice does no harm.
	public := &caller{conn: conn, session: publicSession, retries: retries, onAttempt: s.onAttempt, again: true}
	session := newSession(closing, public, retries, s.signIn, s.token)
	client := &Client{
		conn:     conn,
		caller:   &caller{conn: conn, session: session, retries: retries, onAttempt: s.onAttempt},
		session:  session,
		pacer:    newPacer(),
		reading:  newPacer(),
		window:   s.window,
		patience: s.patience,
		closing:  closing,
		end:      end,
	}
	client.asking = newShared(closing, retries, client.obtainLimits, client.whyNoLimits)
	client.limits.Store(s.limits)
	return client, nil
}

// Close closes the connection; current and later calls fail. Closing again does nothing.
func (c *Client) Close() error {
	c.end(unavailable("the client is closed", ""))
	_ = c.conn.Close() // It fails where it was closed before.
	return nil
}

// Apply puts users into segments and takes them out; it returns once everything is written.
//
// Users that do not fit into one request are sent in several, one after the other, and the results are combined. An
// invalid user or block is skipped with a warning. If it fails, a part may have been applied; it is safe to apply the
// same again.
func (c *Client) Apply(ctx context.Context, users []*pb.RtSegment) (*pb.ApplySegmentsResult, error) {
	return c.apply(ctx, users, false)
}

// Validate checks everything as Apply does, but changes nothing.
func (c *Client) Validate(ctx context.Context, users []*pb.RtSegment) (*pb.ApplySegmentsResult, error) {
	return c.apply(ctx, users, true)
}

func (c *Client) apply(ctx context.Context, users []*pb.RtSegment, only bool) (*pb.ApplySegmentsResult, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	limits, err := c.Limits(ctx)
	if err != nil {
		return nil, err
	}
	parts := split(users, limits.ofCalls())
	results := make([]*pb.ApplySegmentsResult, len(parts))
	for index, part := range parts {
		if unreadable := part.unreadable(); unreadable != nil {
			return nil, unreadable
		}
		if err := c.pacer.wait(ctx, len(part.users), limits); err != nil {
			return nil, err
		}
		answer := new(pb.ApplySegmentsResponse)
		request := &pb.ApplySegmentsRequest{RtSegment: part.users, ValidateOnly: only}
		says := func() bool { return answer.GetResponse() != nil }
		if err := c.caller.call(ctx, pb.AudienceService_ApplySegments_FullMethodName, request, answer, says); err != nil {
			return nil, err
		}
		results[index] = answer.GetResponse()
	}
	return joined(parts, results), nil
}

// Memberships returns the current memberships of any number of users, in the given order. The domain is that of UserIn,
// or "" for the platform's own users. Users that do not fit into one request are read in several, one after the other.
func (c *Client) Memberships(ctx context.Context, domain string, userIDs ...string) ([]*pb.UserMemberships, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	if err := c.session.ended(ctx); err != nil {
		return nil, err
	}
	// One user is read at once, without a question for the limits.
	isOne, limits := len(userIDs) <= 1, Limits{}.orDefaults()
	if !isOne {
		var err error
		if limits, err = c.Limits(ctx); err != nil {
			return nil, err
		}
	}
	users := make([]*pb.UserMemberships, 0, len(userIDs))
	for len(userIDs) > 0 {
		asked := userIDs[:min(len(userIDs), limits.usersPerRead())]
		userIDs = userIDs[len(asked):]
		if !isOne {
			if err := c.reading.wait(ctx, len(asked), limits.ofReads()); err != nil {
				return nil, err
			}
		}
		request := new(pb.BatchGetMembershipsRequest)
		for _, userID := range asked {
			request.Users = append(request.Users, &pb.GetMembershipsRequest{UserId: userID, Domain: domain})
		}
		answer := new(pb.BatchGetMembershipsResponse)
		says := func() bool { return len(answer.GetResponse().GetRtSegment()) == len(asked) }
		if err := c.caller.call(ctx, pb.AudienceService_BatchGetMemberships_FullMethodName, request, answer, says); err != nil {
			return nil, err
		}
		users = append(users, answer.GetResponse().GetRtSegment()...)
	}
	return users, nil
}

// Limits returns the member's limits: as given to the client, or as requested from the service, once.
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	return c.asking.value(ctx, c.knownLimits)
}

func (c *Client) knownLimits() (Limits, bool, error) {
	known := c.limits.Load()
	if known == nil || c.closing.Err() != nil {
		return Limits{}, false, context.Cause(c.closing)
	}
	return *known, true, nil
}

func (c *Client) obtainLimits(ctx context.Context) (Limits, error) {
	limits, err := c.askLimits(ctx)
	if err == nil {
		c.limits.Store(&limits)
	}
	return limits, err
}

func (c *Client) whyNoLimits() *Error {
	return orElse(c.caller.failure.Load(), c.session.why())
}

func (c *Client) askLimits(ctx context.Context) (Limits, error) {
	token, err := c.session.get(ctx)
	if err != nil || token == "" {
		return Limits{}.orDefaults(), err
	}
	// hbapi:<user id>:<random hex>:<location>
	_, rest, _ := strings.Cut(token, ":")
	number, _, _ := strings.Cut(rest, ":")
	userID, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return Limits{}, invalid("the token is none of this service's")
	}
	user := new(pb.GetUserResponse)
	asked := &pb.GetUserRequest{Id: int32(userID)}
	saysUser := func() bool { return user.GetUser() != nil }
	if err := c.caller.call(ctx, pb.CatalogService_GetUser_FullMethodName, asked, user, saysUser); err != nil {
		return Limits{}, err
	}
	member := new(pb.GetMemberResponse)
	askedMember := &pb.GetMemberRequest{Id: user.GetUser().GetMemberId()}
	saysMember := func() bool { return member.GetMember() != nil }
	if err := c.caller.call(ctx, pb.CatalogService_GetMember_FullMethodName, askedMember, member, saysMember); err != nil {
		return Limits{}, err
	}
	said := member.GetMember().GetLimits()
	return Limits{
		UsersPerCall:    int(said.GetUsersPerCall()),
		SegmentsPerUser: int(said.GetSegmentsPerUser()),
		BodyBytes:       int(said.GetBodyBytes()),
		PostsPerSecond:  int(said.GetPostsPerSecond()),
		UsersPerSecond:  int(said.GetUsersPerSecond()),
		GetsPerSecond:   int(said.GetGetsPerSecond()),
	}.orDefaults(), nil
}

// withDeadline adds the default deadline if the context has none; the context also ends when the client is closed.
func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, release := untilClosed(ctx, c.closing)
	if _, ok := ctx.Deadline(); ok {
		return ctx, release
	}
	ctx, cancel := context.WithTimeout(ctx, deadlineMs*time.Millisecond)
	return ctx, func() { cancel(); release() }
}

// untilClosed returns a context that also ends when the client is closed.
func untilClosed(ctx, closing context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(closing, func() { cancel(context.Cause(closing)) })
	return ctx, func() { forget(); cancel(nil) }
}

func security(s *settings) credentials.TransportCredentials {
	if s.plaintext {
		return insecure.NewCredentials()
	}
	config := s.tls.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if s.certificate != nil {
		config.Certificates = append(slices.Clip(config.Certificates), *s.certificate)
	}
	return credentials.NewTLS(config)
}
