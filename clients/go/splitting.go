package instantaudience

import (
	"fmt"
	"strings"
	"unicode/utf8"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/proto"
)

// Limits are what a member may send; see Limits of catalog.proto. What is 0 is the service's default.
type Limits struct {
	UsersPerCall    int
	SegmentsPerUser int
	BodyBytes       int
	PostsPerSecond  int
	UsersPerSecond  int
}

func (l Limits) orDefaults() Limits {
	return Limits{
		UsersPerCall:    orElse(l.UsersPerCall, usersPerCall),
		SegmentsPerUser: orElse(l.SegmentsPerUser, segmentsPerUser),
		BodyBytes:       orElse(l.BodyBytes, bodyBytes),
		PostsPerSecond:  orElse(l.PostsPerSecond, postsPerSecond),
		UsersPerSecond:  orElse(l.UsersPerSecond, usersPerSecond),
	}
}

// usersPerRequest is at most what a second may have: a request with more could never be taken.
func (l Limits) usersPerRequest() int {
	return min(l.UsersPerCall, l.UsersPerSecond)
}

// place is where a user of a request stands in what the caller gave: the user, and the first of its blocks.
type place struct {
	user, block int
}

// part is a request.
type part struct {
	users  []*pb.RtSegment
	places []place
	bytes  int
}

type userKey struct {
	domain, userID string
}

// keys are the users that it changes.
func (p *part) keys() []userKey {
	keys := make([]userKey, len(p.users))
	for index, user := range p.users {
		keys[index] = userKey{strings.ToLower(user.GetDomain()), strings.ToLower(user.GetUserId())}
	}
	return keys
}

// unreadable is what keeps it from being sent, whoever takes it; nil where nothing does.
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

// splitter makes parts of users that come one by one.
type splitter struct {
	limits Limits
	part   *part
	count  int
}

func newSplitter(limits Limits) *splitter {
	return &splitter{limits: limits, part: new(part)}
}

// add takes a user, and answers with the parts that are full now.
func (s *splitter) add(user *pb.RtSegment) []*part {
	var full []*part
	index := s.count
	s.count++
	for _, piece := range pieces(user, s.limits) {
		size := proto.Size(piece.user) + frameBytes
		isFull := len(s.part.users) >= s.limits.usersPerRequest() || s.part.bytes+size > s.limits.BodyBytes
		if len(s.part.users) > 0 && isFull {
			full = append(full, s.part)
			s.part = new(part)
		}
		s.part.users = append(s.part.users, piece.user)
		s.part.places = append(s.part.places, place{index, piece.first})
		s.part.bytes += size
	}
	return full
}

// flush is what is left; nil where nothing is.
func (s *splitter) flush() *part {
	last := s.part
	s.part = new(part)
	if len(last.users) == 0 {
		return nil
	}
	return last
}

// split makes the requests that together say what these users say, in their order; one without users where there are none.
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

// piece is a user with as many blocks as a request takes, and where these begin.
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
