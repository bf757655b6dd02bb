package instantaudience

import (
	"iter"
	"sync"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// linger is how long users wait for others to go along with them, at most.
const linger = lingerMs * time.Millisecond

// source makes requests of users as they are needed, in a goroutine of its own, so that a slow iterator holds up
// nothing else.
type source struct {
	parts chan *part
	done  chan struct{}
	// panicked is the value of a panic in the users' iterator, once parts is closed.
	panicked any
	mutex    sync.Mutex
	// splitter has the users of a request that is not full yet.
	splitter *splitter
	// since is since when these have been waiting for others.
	since time.Time
	// isGiving says that full requests come first.
	isGiving bool
}

func newSource(users iter.Seq[*pb.RtSegment], limits Limits) *source {
	s := &source{parts: make(chan *part), done: make(chan struct{}), splitter: newSplitter(limits)}
	go func() {
		defer close(s.parts)
		defer func() { s.panicked = recover() }()
		for user := range users {
			if s.isOver() {
				return
			}
			if full := s.add(user); len(full) > 0 && !s.give(full...) {
				return
			}
		}
		if last := s.last(); last != nil {
			s.give(last)
		}
	}()
	return s
}

// add adds a user, and returns the requests that are full now, which have to be given.
func (s *source) add(user *pb.RtSegment) []*part {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.splitter.part.users) == 0 {
		s.since = time.Now()
	}
	full := s.splitter.add(user)
	s.isGiving = len(full) > 0
	return full
}

// last returns the last request, which has to be given; nil if there is none.
func (s *source) last() *part {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.isGiving = true
	return s.splitter.flush()
}

// rest returns a request with the users that have waited for others long enough; nil if there are none.
func (s *source) rest() *part {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.isGiving || time.Since(s.since) < linger {
		return nil
	}
	return s.splitter.flush()
}

// give passes requests on; false if no more are wanted.
func (s *source) give(full ...*part) bool {
	for _, part := range full {
		select {
		case s.parts <- part:
		case <-s.done:
			return false
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.since, s.isGiving = time.Now(), false
	return true
}

// isOver reports whether no more requests are wanted.
func (s *source) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// close says that no more requests are wanted.
func (s *source) close() {
	close(s.done)
}
