// Code generated; made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto. DO NOT EDIT.

package instantaudience

import "google.golang.org/grpc/codes"

// Kind is what an error means for a caller.
type Kind string

// The kinds of errors.
const (
	// The request is malformed or breaks a rule: sending it again does not help.
	InvalidRequest Kind = "InvalidRequest"
	// Wrong user name, password, key or token, or the account is deactivated.
	Unauthenticated Kind = "Unauthenticated"
	// The account may not do this.
	PermissionDenied Kind = "PermissionDenied"
	// There is no such object or method.
	NotFound Kind = "NotFound"
	// The change conflicts with the current state: taken, changed meanwhile, or in use.
	Conflict Kind = "Conflict"
	// One user's changes exceed the size of a request, or an answer exceeds what this client accepts.
	TooLarge Kind = "TooLarge"
	// The member's quota is used up, and there was no time left to wait for the next window.
	RateLimited Kind = "RateLimited"
	// The service is unreachable or overloaded; the request may have been applied in part, and can be sent again.
	Unavailable Kind = "Unavailable"
	// The caller's deadline has passed.
	DeadlineExceeded Kind = "DeadlineExceeded"
	// A defect of the service, or an answer that is not the service's.
	Internal Kind = "Internal"
)

// Reasons of errors; see errors.proto.
const (
	ReasonSyntax            = "SYNTAX"
	ReasonNoauth            = "NOAUTH"
	ReasonNoauthDisabled    = "NOAUTH_DISABLED"
	ReasonUnauth            = "UNAUTH"
	ReasonIntegrity         = "INTEGRITY"
	ReasonLimit             = "LIMIT"
	ReasonRateLimitExceeded = "RATE_LIMIT_EXCEEDED"
	ReasonSystem            = "SYSTEM"
)

const (
	// The deadline of a call for which the caller sets none, all attempts together.
	deadlineMs = 30000
	// The longest pause before the second attempt of a call; it doubles with each further attempt.
	firstPauseMs = 100
	// The longest pause, unless the service asks for a longer one.
	mostPauseMs = 5000
	// The longest time for one attempt; one that hangs is given up, and the next one begins.
	attemptMs = 10000
	// The interval of pings on a connection with calls under way through which nothing comes.
	pingEveryMs = 10000
	// How long a ping may stay unanswered; then the connection is given up, and its calls go on with another one.
	pingAnswerMs = 5000
	// The length of the windows in which the service counts what a member sends.
	quotaWindowMs = 1000
	// Requests of a stream that are under way at once. A stream keeps nothing else in memory.
	streamWindow = 32
	// How long users of a stream that come slowly wait for others to share a request with, at most.
	lingerMs = 200
	// The most users in a BatchGetMemberships request.
	batchUsers = 1000
	// The most bytes that the encoding of a request adds to a user or a block.
	frameBytes = 12
	// The largest answer: the memberships of a thousand users can exceed the 4 MB that gRPC accepts by default.
	receiveBytes = 67108864
	// The part of a token's life after which it is renewed.
	renewalPercent = 90
	// The longest time that a call waits for a new token while the old one is still valid.
	renewalSeconds = 1
	// The pause before the next attempt to renew a token, after one that failed.
	renewalPauseSeconds = 60
	// The longest token. A request with a much longer one is refused, and its connection may be closed.
	tokenCharacters = 4096
	// The lifetime of the assertion by which a caller proves to have a private key.
	assertionSeconds = 300
	// The most users in a request, unless the member's limits say otherwise.
	usersPerCall = 1000
	// The most blocks of a user in a request, unless the member's limits say otherwise.
	segmentsPerUser = 100
	// The most bytes of a request, unless the member's limits say otherwise.
	bodyBytes = 1048576
	// The most requests that apply memberships in a second, unless the member's limits say otherwise.
	postsPerSecond = 100
	// The most users in such requests in a second, unless the member's limits say otherwise.
	usersPerSecond = 1000
	// The most users that are read in a second, unless the member's limits say otherwise.
	getsPerSecond = 1000
	// The calls into which a second's quota is divided, so that others of the member get their turn, too.
	quotaParts = 4
	// The reason of errors that another token helps.
	renewedReason = ReasonNoauth
)

// The kind of an error by its gRPC code; Internal where it is not here.
var kindOfCode = map[codes.Code]Kind{
	3:  InvalidRequest,   // INVALID_ARGUMENT
	11: InvalidRequest,   // OUT_OF_RANGE
	16: Unauthenticated,  // UNAUTHENTICATED
	7:  PermissionDenied, // PERMISSION_DENIED
	5:  NotFound,         // NOT_FOUND
	12: NotFound,         // UNIMPLEMENTED
	6:  Conflict,         // ALREADY_EXISTS
	10: Conflict,         // ABORTED
	9:  Conflict,         // FAILED_PRECONDITION
	8:  TooLarge,         // RESOURCE_EXHAUSTED
	14: Unavailable,      // UNAVAILABLE
	4:  DeadlineExceeded, // DEADLINE_EXCEEDED
}

// The kind of an error by its reason; goes before its code.
var kindOfReason = map[string]Kind{
	"RATE_LIMIT_EXCEEDED": RateLimited,
}

// The same of errors without a reason, which are the transport's: of a connection that broke, for example.
var kindWithoutReason = map[codes.Code]Kind{
	13: Unavailable, // INTERNAL
	2:  Unavailable, // UNKNOWN
	1:  Unavailable, // CANCELLED
	10: Unavailable, // ABORTED
}

// Kinds of errors that another attempt helps.
var sentAgain = map[Kind]bool{RateLimited: true, Unavailable: true, DeadlineExceeded: true}

// Codes of warnings of a user that was skipped as a whole.
var warningsOfUsers = map[int32]bool{
	1: true, // TOO_MANY_USERS
	2: true, // USER_ID_REQUIRED
	3: true, // SEG_BLOCK_REQUIRED
	4: true, // INVALID_DOMAIN
	5: true, // INVALID_USER_ID
	6: true, // NO_VALID_SEGMENTS
}
