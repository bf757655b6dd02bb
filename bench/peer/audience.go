package main

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	pb "peer/audience"
)

const (
	leaves = -1
	// Requests of a stream that are under way at most.
	streamWindow = 64
	msPerMinute  = 60_000
)

type audienceService struct {
	pb.UnimplementedAudienceServiceServer
	nodes [nodeCount]*node
}

// ApplySegments applies one request.
func (s *audienceService) ApplySegments(_ context.Context, request *pb.ApplySegmentsRequest) (*pb.ApplySegmentsResponse, error) {
	result, err := s.apply(request.RtSegment)
	if err != nil {
		return nil, err
	}
	return &pb.ApplySegmentsResponse{Response: result}, nil
}

// StreamSegments applies requests at once, and answers them in order.
func (s *audienceService) StreamSegments(stream pb.AudienceService_StreamSegmentsServer) error {
	answers := make(chan chan answer, streamWindow)
	ended := make(chan error, 1)
	go func() { ended <- sendAll(stream, answers) }()
	for {
		request, err := stream.Recv()
		if err != nil {
			close(answers)
			if err == io.EOF {
				return <-ended
			}
			return err
		}
		one := make(chan answer, 1)
		answers <- one
		go func() {
			result, err := s.apply(request.RtSegment)
			one <- answer{result, err}
		}()
	}
}

type answer struct {
	result *pb.ApplySegmentsResult
	err    error
}

func sendAll(stream pb.AudienceService_StreamSegmentsServer, answers <-chan chan answer) error {
	var failure error
	for one := range answers {
		next := <-one
		if failure == nil {
			failure = next.err
		}
		if failure == nil {
			outcome := &pb.StreamSegmentsResponse_Response{Response: next.result}
			failure = stream.Send(&pb.StreamSegmentsResponse{Outcome: outcome})
		}
	}
	return failure
}

// Parts are a call's writes; when all are answered, its buffers serve another call.
type parts struct {
	writes [nodeCount]write
	done   chan error
}

var freeParts = sync.Pool{New: func() any {
	done := make(chan error, nodeCount)
	p := &parts{done: done}
	for i := range p.writes {
		p.writes[i].done = done
	}
	return p
}}

func (s *audienceService) apply(users []*pb.RtSegment) (*pb.ApplySegmentsResult, error) {
	p := freeParts.Get().(*parts)
	defer freeParts.Put(p)
	for i := range p.writes {
		p.writes[i].commands, p.writes[i].replies = p.writes[i].commands[:0], 0
	}
	counts := &pb.RequestCounts{}
	now := time.Now().UnixMilli()
	var key [300]byte
	for _, user := range users {
		if user.GetUserId() == "" {
			continue
		}
		counts.UsersInRequest++
		key := append(append(key[:0], "m:p:"...), user.GetUserId()...)
		counts.SegmentsInRequest += encode(&p.writes[nodeOf(key)], key, user.SegBlock, now)
	}
	under := 0
	for i := range p.writes {
		if p.writes[i].replies > 0 {
			under++
			s.nodes[i].writes <- &p.writes[i]
		}
	}
	var failure error
	for range under {
		if err := <-p.done; err != nil {
			failure = err
		}
	}
	if failure != nil {
		return nil, failure
	}
	return &pb.ApplySegmentsResult{Status: "OK", Message: counts}, nil
}

// Encode adds a command for each end that the blocks have, and one for those that leave; how many blocks are valid.
func encode(w *write, key []byte, blocks []*pb.SegBlock, now int64) int32 {
	var valid int32
	var room [8]int32
	ends := room[:0]
	for _, block := range blocks {
		if block.SegId == nil {
			continue
		}
		valid++
		if end := block.GetExpiration(); !contains(ends, end) {
			ends = append(ends, end)
		}
	}
	for _, end := range ends {
		count := int64(0)
		for _, block := range blocks {
			if block.SegId != nil && block.GetExpiration() == end {
				count++
			}
		}
		w.commands = encodeOne(w.commands, key, blocks, end, count, now)
		w.replies++
	}
	return valid
}

func encodeOne(out, key []byte, blocks []*pb.SegBlock, end int32, count, now int64) []byte {
	out = append(out, '*')
	if end == leaves {
		out = strconv.AppendInt(out, 2+count, 10)
		out = append(out, "\r\n$4\r\nHDEL\r\n"...)
		out = appendBulk(out, key)
	} else {
		out = strconv.AppendInt(out, 6+2*count, 10)
		out = append(out, "\r\n$6\r\nHSETEX\r\n"...)
		out = appendBulk(out, key)
		out = append(out, "$4\r\nPXAT\r\n"...)
		out = appendNumber(out, now+int64(end)*msPerMinute)
		out = append(out, "$6\r\nFIELDS\r\n"...)
		out = appendNumber(out, count)
	}
	for _, block := range blocks {
		if block.SegId == nil || block.GetExpiration() != end {
			continue
		}
		out = appendNumber(out, int64(*block.SegId))
		if end != leaves {
			out = appendNumber(out, int64(block.GetValue()))
		}
	}
	return out
}

func contains(ends []int32, end int32) bool {
	for _, known := range ends {
		if known == end {
			return true
		}
	}
	return false
}

func appendBulk(out, value []byte) []byte {
	out = append(out, '$')
	out = strconv.AppendInt(out, int64(len(value)), 10)
	out = append(out, '\r', '\n')
	out = append(out, value...)
	return append(out, '\r', '\n')
}

func appendNumber(out []byte, value int64) []byte {
	var digits [20]byte
	return appendBulk(out, strconv.AppendInt(digits[:0], value, 10))
}
