package instantaudience

import (
	"fmt"
	"strings"
	"unicode/utf8"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/proto"
)

// Limits are a member's limits; see Limits of catalog.proto. Zero values stand for the service's defaults.
type Limits struct {
	UsersPerCall    int
	SegmentsPerUser int
	BodyBytes       int
	PostsPerSecond  int
	UsersPerSecond  int
	GetsPerSecond   int
}

func (l Limits) check() error {
	for _, each := range []struct {
		name  string
		limit int
	}{
		{"UsersPerCall", l.UsersPerCall}, {"SegmentsPerUser", l.SegmentsPerUser}, {"BodyBytes", l.BodyBytes},
		{"PostsPerSecond", l.PostsPerSecond}, {"UsersPerSecond", l.UsersPerSecond}, {"GetsPerSecond", l.GetsPerSecond},
	} {
		if each.limit < 0 {
			return fmt.Errorf("%s is %d: a limit is 1 at least", each.name, each.limit)
		}
	}
	return nil
}

func (l Limits) orDefaults() Limits {
	return Limits{
		UsersPerCall:    orElse(l.UsersPerCall, usersPerCall),
		SegmentsPerUser: orElse(l.SegmentsPerUser, segmentsPerUser),
		BodyBytes:       orElse(l.BodyBytes, bodyBytes),
		PostsPerSecond:  orElse(l.PostsPerSecond, postsPerSecond),
		UsersPerSecond:  orElse(l.UsersPerSecond, usersPerSecond),
		GetsPerSecond:   orElse(l.GetsPerSecond, getsPerSecond),
	}
}

// usersPerRequest is the maximum for a request; one with more than a second's quota would never be accepted.
func (l Limits) usersPerRequest() int {
	return min(l.UsersPerCall, l.UsersPerSecond)
}

// ofCalls has the limits of unary calls. The service refuses one that exceeds what is left of a second, so one that needs
// all of it would be refused as long as anybody else of the member writes. Requests of streams wait there.
func (l Limits) ofCalls() Limits {
	parts := max(1, min(quotaParts, l.PostsPerSecond))
	l.UsersPerCall = max(1, min(l.UsersPerCall, l.UsersPerSecond/parts))
	return l
}

// usersPerRead is the maximum number of users in a request that reads them.
func (l Limits) usersPerRead() int {
	return max(1, min(batchUsers, l.GetsPerSecond/quotaParts))
}

// ofReads has the limits that requests which read are paced by: each of their users counts.
func (l Limits) ofReads() Limits {
	l.PostsPerSecond, l.UsersPerSecond = l.GetsPerSecond, l.GetsPerSecond
	return l
}

// place is the index of the caller's user, and of the first of its blocks in a request.
type place struct {
	user, block int
}

// part is a request.
type part struct {
	users  []*pb.RtSegment
	places []place
	bytes  int
	// continues is whether the next part has more blocks of the last user.
	continues bool
}

type userKey struct {
	domain, userID string
}

// keys returns the users that the request changes.
func (p *part) keys() []userKey {
	keys := make([]userKey, len(p.users))
	for index, user := range p.users {
		keys[index] = userKey{strings.ToLower(user.GetDomain()), strings.ToLower(user.GetUserId())}
	}
	return keys
}

// unreadable returns why the request cannot be encoded; nil if it can.
func (p *part) unreadable() *Error {
	for _, user := range p.users {
		isText := utf8.ValidString(user.GetUserId()) && utf8.ValidString(user.GetDomain())
		for _, block := range user.GetSegBlock() {
			isText = isText && utf8.ValidString(block.GetSegCode())
		}
		if !isText {
			return invalid(fmt.Sprintf("the user ID, domain or a segment's code of user %+q is no UTF-8", user.GetUserId()))
		}
	}
	return nil
}

// splitter divides users into parts.
type splitter struct {
	limits Limits
	part   *part
	count  int
}

func newSplitter(limits Limits) *splitter {
	return &splitter{limits: limits, part: new(part)}
}

// add adds a user, and returns the parts that are complete now.
func (s *splitter) add(user *pb.RtSegment) []*part {
	var full []*part
	index := s.count
	s.count++
	for _, piece := range pieces(user, s.limits) {
		size := proto.Size(piece.user) + frameBytes
		isFull := len(s.part.users) >= s.limits.usersPerRequest() || s.part.bytes+size > s.limits.BodyBytes
		if held := len(s.part.users); held > 0 && isFull {
			s.part.continues = s.part.places[held-1].user == index
			full = append(full, s.part)
			s.part = new(part)
		}
		s.part.users = append(s.part.users, piece.user)
		s.part.places = append(s.part.places, place{index, piece.first})
		s.part.bytes += size
	}
	return full
}

// flush returns the incomplete part; nil if there is none.
func (s *splitter) flush() *part {
	last := s.part
	s.part = new(part)
	if len(last.users) == 0 {
		return nil
	}
	return last
}

// split returns the requests for these users, in order; a single empty one if there are no users.
func split(users []*pb.RtSegment, limits Limits) []*part {
	splitter := newSplitter(limits)
	var parts []*part
	for _, user := range users {
		parts = append(parts, splitter.add(user)...)
	}
	if last := splitter.flush(); last != nil || len(parts) == 0 {
		parts = append(parts, orElse(last, new(part)))
	}
	return parts
}

// piece is a user with as many blocks as fit into a request, and the index of the first one.
type piece struct {
	user  *pb.RtSegment
	first int
}

func pieces(user *pb.RtSegment, limits Limits) []piece {
	room := limits.BodyBytes - frameBytes
	if len(user.GetSegBlock()) <= limits.SegmentsPerUser && proto.Size(user) <= room {
		return []piece{{user, 0}}
	}
	bare := &pb.RtSegment{UserId: user.UserId, Domain: user.Domain}
	empty := proto.Size(bare)
	var done []piece
	current, size := piece{bare, 0}, empty
	for index, block := range user.GetSegBlock() {
		blockSize := proto.Size(block) + frameBytes
		held := len(current.user.SegBlock)
		if held > 0 && (held >= limits.SegmentsPerUser || size+blockSize > room) {
			done = append(done, current)
			current, size = piece{&pb.RtSegment{UserId: user.UserId, Domain: user.Domain}, index}, empty
		}
		current.user.SegBlock = append(current.user.SegBlock, block)
		size += blockSize
	}
	return append(done, current)
}
