package instantaudience

import (
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/proto"
)

const (
	// Remove is the expiration that takes the user out of the segment.
	Remove int32 = -1
	// Never is the expiration of a membership that never ends.
	Never int32 = 0
)

// User returns one of the platform's users, and the segments to join or leave.
func User(userID string, blocks ...*pb.SegBlock) *pb.RtSegment {
	return &pb.RtSegment{UserId: &userID, SegBlock: blocks}
}

// UserIn returns a user identified within a domain: "idfa", "aaid", "sha1udid", "md5udid", "openudid".
func UserIn(domain, userID string, blocks ...*pb.SegBlock) *pb.RtSegment {
	return &pb.RtSegment{UserId: &userID, Domain: &domain, SegBlock: blocks}
}

// BlockOption sets a field of a block.
type BlockOption func(*pb.SegBlock)

// Block returns a segment to join, or to leave with Expiration(Remove).
func Block(segID int32, options ...BlockOption) *pb.SegBlock {
	return blockOf(&pb.SegBlock{SegId: &segID}, options)
}

// BlockByCode returns a segment named by its code and the member that owns it.
func BlockByCode(memberID int32, segCode string, options ...BlockOption) *pb.SegBlock {
	return blockOf(&pb.SegBlock{SegCode: &segCode, MemberId: &memberID}, options)
}

// Value sets the membership's value; the default is 0.
func Value(value int32) BlockOption {
	return func(block *pb.SegBlock) { block.Value = proto.Int32(value) }
}

// Expiration sets the membership's lifetime in minutes, Never or Remove; the default is the segment's or the member's.
func Expiration(minutes int32) BlockOption {
	return func(block *pb.SegBlock) { block.Expiration = proto.Int32(minutes) }
}

func blockOf(block *pb.SegBlock, options []BlockOption) *pb.SegBlock {
	for _, option := range options {
		option(block)
	}
	return block
}
