package instantaudience

import (
	"sync/atomic"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// StreamResult is the result for the users that were sent in one request, in the order in which they were given.
type StreamResult struct {
	// FirstUser is the index of the first of these users among those given.
	FirstUser int
	// Users is the number of users.
	Users int
	// Continues is whether the last of these users has more blocks, which the next result is for. All others are settled.
	Continues bool
	// Result has counts and warnings; nil if the request failed. Paths count the users given, from 0.
	Result *pb.ApplySegmentsResult
	// Err is why the request failed, if it did; sending it again would not help.
	Err *Error
}

// request is a request in flight, until it has a final result or failure.
type request struct {
	part     *part
	attempts int
	result   *pb.ApplySegmentsResult
	failure  *Error
	// since is when it was sent last; nil while it waits to be sent.
	since atomic.Pointer[time.Time]
}

func (r *request) isAnswered() bool {
	return r.result != nil || r.failure != nil
}

// isStuck reports whether its answer has been waited for longer than that.
func (r *request) isStuck(readSince time.Time, after time.Duration) bool {
	since := r.since.Load()
	return since != nil && min(time.Since(*since), time.Since(readSince)) > after
}

func (r *request) outcome() *StreamResult {
	places := r.part.places
	first, last := places[0].user, places[len(places)-1].user
	outcome := &StreamResult{FirstUser: first, Users: last - first + 1, Continues: r.part.continues, Err: r.failure}
	if r.result != nil {
		outcome.Result = joined([]*part{r.part}, []*pb.ApplySegmentsResult{r.result})
	}
	return outcome
}

// window has the requests without a result so far, in order.
type window []*request

// toRepeat returns the requests without a final answer, and all after them that change one of the same users: those
// were applied before the failed ones, and applying them again afterwards restores the right order.
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

// attempts returns the largest number of attempts of any request.
func (w window) attempts() int {
	most := 0
	for _, request := range w {
		most = max(most, request.attempts)
	}
	return most
}
