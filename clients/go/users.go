package instantaudience

import (
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/proto"
)

const (
	// Remove is an expiration that takes the user out of the segment.
	Remove int32 = -1
	// Never is an expiration that never comes.
	Never int32 = 0
)

// User is one of the platform's users, and the segments to join or leave.
func User(userID string, blocks ...*pb.SegBlock) *pb.RtSegment {
	return &pb.RtSegment{UserId: &userID, SegBlock: blocks}
}

// UserIn is a user by an identifier of a domain: "idfa", "aaid", "sha1udid", "md5udid", "openudid".
func UserIn(domain, userID string, blocks ...*pb.SegBlock) *pb.RtSegment {
	return &pb.RtSegment{UserId: &userID, Domain: &domain, SegBlock: blocks}
}

// BlockOption says more of a segment to join or leave.
type BlockOption func(*pb.SegBlock)

// Block is a segment to join, or to leave with Expiration(Remove).
func Block(segID int32, options ...BlockOption) *pb.SegBlock {
	return blockOf(&pb.SegBlock{SegId: &segID}, options)
}

// BlockByCode is the same by the segment's code and the member that owns it.
func BlockByCode(memberID int32, segCode string, options ...BlockOption) *pb.SegBlock {
	return blockOf(&pb.SegBlock{SegCode: &segCode, MemberId: &memberID}, options)
}

// Value is the membership's; without it, 0.
func Value(value int32) BlockOption {
	return func(block *pb.SegBlock) { block.Value = proto.Int32(value) }
}

// Expiration is the membership's lifetime in minutes, Never or Remove; without it, the segment's or the member's default.
func Expiration(minutes int32) BlockOption {
	return func(block *pb.SegBlock) { block.Expiration = proto.Int32(minutes) }
}

func blockOf(block *pb.SegBlock, options []BlockOption) *pb.SegBlock {
	for _, option := range options {
		option(block)
	}
	return block
}
