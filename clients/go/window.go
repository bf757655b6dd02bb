package instantaudience

import (
	"sync/atomic"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// StreamResult is what became of users that went in one request, in the order they were given.
type StreamResult struct {
	// FirstUser is which of the users given its first one is, from 0.
	FirstUser int
	// Users is how many of them it is about; the blocks of its last one may go on in the next.
	Users int
	// Result is what was read and skipped; nil where the request failed. Paths count the users given, from 0.
	Result *pb.ApplySegmentsResult
	// Err is why the request failed; sending it again would not help.
	Err *Error
}

// request is one under way, until it is answered for good: by a result or a failure.
type request struct {
	part     *part
	attempts int
	result   *pb.ApplySegmentsResult
	failure  *Error
	// since is when it was sent last, in Unix nanoseconds; 0 while it waits to be.
	since atomic.Int64
}

func (r *request) isAnswered() bool {
	return r.result != nil || r.failure != nil
}

// isStuck says whether it was sent, and answers are waited for, longer than that.
func (r *request) isStuck(readSince time.Time, after time.Duration) bool {
	since := r.since.Load()
	return since != 0 && min(time.Since(time.Unix(0, since)), time.Since(readSince)) > after
}

func (r *request) outcome() *StreamResult {
	places := r.part.places
	first, last := places[0].user, places[len(places)-1].user
	outcome := &StreamResult{FirstUser: first, Users: last - first + 1, Err: r.failure}
	if r.result != nil {
		outcome.Result = joined([]*part{r.part}, []*pb.ApplySegmentsResult{r.result})
	}
	return outcome
}

// window is the requests that the caller has no result of, in order.
type window []*request

// toRepeat is what is not answered for good, and all after it that changes one of the same users: that was applied before
// what failed; applied again after it, it leaves what it should.
func (w window) toRepeat() []*request {
	var again []*request
	keys := make(map[userKey]bool)
	for _, request := range w {
		own := request.part.keys()
		if request.isAnswered() && !anyOf(own, keys) {
			continue
		}
		request.result, request.failure = nil, request.part.unreadable()
		if request.failure != nil {
			continue
		}
		for _, key := range own {
			keys[key] = true
		}
		again = append(again, request)
	}
	return again
}

func anyOf(own []userKey, keys map[userKey]bool) bool {
	for _, key := range own {
		if keys[key] {
			return true
		}
	}
	return false
}

// attempts is the most of any request.
func (w window) attempts() int {
	most := 0
	for _, request := range w {
		most = max(most, request.attempts)
	}
	return most
}
