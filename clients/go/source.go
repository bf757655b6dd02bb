package instantaudience

import (
	"iter"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// source is the requests to come, made of users as they are wanted, in a goroutine of its own: one that is waited for
// keeps nothing else from going on.
type source struct {
	parts chan *part
	done  chan struct{}
	// panicked is what the users' iterator has panicked with, once parts is closed.
	panicked any
}

func newSource(users iter.Seq[*pb.RtSegment], limits Limits) *source {
	s := &source{parts: make(chan *part), done: make(chan struct{})}
	go func() {
		defer close(s.parts)
		defer func() { s.panicked = recover() }()
		splitter := newSplitter(limits)
		for user := range users {
			for _, part := range splitter.add(user) {
				if !s.give(part) {
					return
				}
			}
		}
		if last := splitter.flush(); last != nil {
			s.give(last)
		}
	}()
	return s
}

// give hands a request on; false where no more is wanted.
func (s *source) give(part *part) bool {
	select {
	case s.parts <- part:
		return true
	case <-s.done:
		return false
	}
}

// close says that no more is wanted.
func (s *source) close() {
	close(s.done)
}
