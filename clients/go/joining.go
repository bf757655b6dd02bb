package instantaudience

import (
	"fmt"
	"regexp"
	"strconv"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

var pathForm = regexp.MustCompile(`^rt_segment\[(\d+)\](?:\.seg_block\[(\d+)\])?$`)

// joined combines the results of parts: counts are added, and paths refer to the caller's users.
//
// A user whose blocks were sent in several requests is counted once, and reported as skipped only if all of it was.
func joined(parts []*part, results []*pb.ApplySegmentsResult) *pb.ApplySegmentsResult {
	if len(parts) == 1 && isWhole(parts[0]) {
		return moved(parts[0], results[0])
	}
	valid := make(map[int]bool)
	var users, segments int32
	for index, part := range parts {
		users += results[index].GetMessage().GetUsersInRequest() - countAgain(part, results[index], valid)
		segments += results[index].GetMessage().GetSegmentsInRequest()
	}
	answer := &pb.ApplySegmentsResult{
		Status:  "OK",
		Message: &pb.RequestCounts{UsersInRequest: users, SegmentsInRequest: segments},
	}
	type telling struct {
		user int
		code pb.WarningCode
	}
	told := make(map[telling]bool)
	var last *pb.ApplyWarning
	for index, part := range parts {
		for _, warning := range moved(part, results[index]).GetWarnings() {
			if warning.GetCode() == pb.WarningCode_WARNING_CODE_NO_VALID_USERS {
				last = warning
				continue
			}
			user, block := placeOf(warning)
			if user >= 0 && block < 0 && warning.GetCode() != pb.WarningCode_WARNING_CODE_TOO_MANY_SEGMENTS {
				this := telling{user, warning.GetCode()}
				if told[this] || (isOfUser(warning) && valid[user]) {
					continue
				}
				told[this] = true
			}
			answer.Warnings = append(answer.Warnings, warning)
		}
	}
	if last != nil && users == 0 {
		answer.Warnings = append(answer.Warnings, last)
	}
	return answer
}

// countAgain adds the valid users of a part to those known, and returns how many of them had been counted before.
func countAgain(part *part, result *pb.ApplySegmentsResult, valid map[int]bool) int32 {
	skipped := make(map[int]bool)
	for _, warning := range result.GetWarnings() {
		if user, _ := placeOf(warning); isOfUser(warning) {
			skipped[user] = true
		}
	}
	var again int32
	for index, place := range part.places {
		if skipped[index] {
			continue
		}
		if valid[place.user] {
			again++
		}
		valid[place.user] = true
	}
	return again
}

func isWhole(part *part) bool {
	for _, place := range part.places {
		if place.block != 0 {
			return false
		}
	}
	return true
}

// moved returns the result of a part, with paths that refer to the caller's users.
func moved(part *part, result *pb.ApplySegmentsResult) *pb.ApplySegmentsResult {
	for _, warning := range result.GetWarnings() {
		user, block := placeOf(warning)
		if user < 0 || user >= len(part.places) {
			continue
		}
		whose := part.places[user]
		warning.Path = fmt.Sprintf("rt_segment[%d]", whose.user)
		if block >= 0 {
			warning.Path += fmt.Sprintf(".seg_block[%d]", whose.block+block)
		}
	}
	return result
}

func isOfUser(warning *pb.ApplyWarning) bool {
	return warningsOfUsers[int32(warning.GetCode())]
}

// placeOf returns the user and the block that a warning is about, or -1.
func placeOf(warning *pb.ApplyWarning) (user, block int) {
	found := pathForm.FindStringSubmatch(warning.GetPath())
	if found == nil {
		return -1, -1
	}
	user, _ = strconv.Atoi(found[1])
	if found[2] == "" {
		return user, -1
	}
	block, _ = strconv.Atoi(found[2])
	return user, block
}
