package instantaudience

import (
	"iter"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// source makes requests of users as they are needed, in a goroutine of its own, so that a slow iterator holds up
// nothing else.
type source struct {
	parts chan *part
	done  chan struct{}
	// panicked is the value of a panic in the users' iterator, once parts is closed.
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

// give passes a request on; false if no more are wanted.
func (s *source) give(part *part) bool {
	select {
	case s.parts <- part:
		return true
	case <-s.done:
		return false
	}
}

// close says that no more requests are wanted.
func (s *source) close() {
	close(s.done)
}
