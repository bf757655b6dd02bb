// Code generated; made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto. DO NOT EDIT.

package instantaudience

import "google.golang.org/grpc/codes"

// Kind is what an error means for a caller.
type Kind string

// The kinds of errors.
const (
	// The request cannot be read, or breaks a rule: sending it again does not help.
	InvalidRequest Kind = "InvalidRequest"
	// Wrong name, password, key or token, or the account is deactivated.
	Unauthenticated Kind = "Unauthenticated"
	// The account may not do this.
	PermissionDenied Kind = "PermissionDenied"
	// There is no such object or method.
	NotFound Kind = "NotFound"
	// The change contradicts what is there: taken, changed meanwhile, or in use.
	Conflict Kind = "Conflict"
	// One user's changes are larger than a request may be, or the answer is larger than this client takes.
	TooLarge Kind = "TooLarge"
	// The member's quota is used up, and there was no time left to wait for the next window.
	RateLimited Kind = "RateLimited"
	// The service is out of reach or overloaded; what was sent may be applied in part, and can be sent again.
	Unavailable Kind = "Unavailable"
	// The time that the caller gave is over.
	DeadlineExceeded Kind = "DeadlineExceeded"
	// A defect of the service, or an answer that is none of its.
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
	// How long a call may take, all attempts together, where the caller says nothing.
	deadlineMs = 30000
	// The pause before the second attempt of a call is up to so long; the next ones up to twice as long each.
	firstPauseMs = 100
	// No pause is longer, but for what the service asks for.
	mostPauseMs = 5000
	// What one attempt may take; one that hangs is given up, and the next one begins.
	attemptMs = 10000
	// While calls are under way and nothing comes, so often it is asked whether anyone is there.
	pingEveryMs = 10000
	// How long that may go unanswered; then the connection is given up, and calls go on with another one.
	pingAnswerMs = 5000
	// The service counts what a member sends by windows of so long.
	quotaWindowMs = 1000
	// Requests of a stream that are under way at once; what they hold is all that a stream keeps in memory.
	streamWindow = 32
	// Users that one BatchGetMemberships reads.
	batchUsers = 1000
	// What a user or a block has around it in a request, at most.
	frameBytes = 12
	// What an answer may have: memberships of a thousand users can be more than the 4 MB that gRPC takes by default.
	receiveBytes = 67108864
	// When so much of a token's life is over, another one is asked for.
	renewalPercent = 90
	// How long a call waits for another token, at most, where the one at hand lives still.
	renewalSeconds = 1
	// How long after that another one is asked for again, where there was none.
	renewalPauseSeconds = 60
	// A token has far fewer; with many more, a request is refused, and its connection with all calls on it may be.
	tokenCharacters = 4096
	// How long the proof of a key is good for.
	assertionSeconds = 300
	// Users of a request, where the member's limits say nothing.
	usersPerCall = 1000
	// Blocks of a user in a request, where the member's limits say nothing.
	segmentsPerUser = 100
	// Bytes of a request, where the member's limits say nothing.
	bodyBytes = 1048576
	// Requests that apply, a second, where the member's limits say nothing.
	postsPerSecond = 100
	// Users in requests that apply, a second, where the member's limits say nothing.
	usersPerSecond = 1000
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
