package instantaudience_test

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/instantaudience/instantaudience/clients/go"
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
)

// aPlan has a fifth of so many requests fail in one of all ways.
func aPlan(t *testing.T, draw *rand.Rand, requests int) []byte {
	t.Helper()
	type fault = map[string]any
	busy := fault{"fault": "status", "reason": "SYSTEM", "retry_after_ms": 5}
	kinds := []fault{
		busy,
		{"fault": "status", "code": "RESOURCE_EXHAUSTED", "reason": "RATE_LIMIT_EXCEEDED", "retry_after_ms": 5},
		{"fault": "status", "reason": "SYSTEM", "applies": true},
		{"fault": "status", "reason": "SYSTEM", "applies": true, "ends_stream": true},
		{"fault": "status", "code": "UNAUTHENTICATED", "reason": "NOAUTH"},
		{"fault": "reset"},
		{"fault": "reset", "applies": true},
		{"fault": "goaway"},
		{"fault": "slow", "pause_ms": 50},
	}
	plan := []fault{busy, {"fault": "hang"}}
	for range requests {
		if draw.IntN(5) == 0 {
			plan = append(plan, kinds[draw.IntN(len(kinds))])
		} else {
			plan = append(plan, fault{"fault": "pass"})
		}
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAHundredThousandUsersAreAppliedInTheirOrderWhateverFails(t *testing.T) {
	const users, distinct, first = 100_000, 2_000, 7_500_000_000_000_000_000
	service := liveService(t)
	draw := rand.New(rand.NewPCG(7, 7))
	service.loadFaults(t, aPlan(t, draw, 1000))
	key, err := os.ReadFile(service["KEY_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, service["FAULTS"],
		instantaudience.WithKeyPair(service["USERNAME"], service["KEY_NAME"], key),
		instantaudience.WithPlaintext(), instantaudience.WithStreamWindow(8),
		instantaudience.WithLimits(instantaudience.Limits{
			UsersPerCall: 1000, UsersPerSecond: 10_000_000, PostsPerSecond: 1_000_000,
		}),
		instantaudience.WithRetries(instantaudience.Retries{
			FirstPause: 5 * time.Millisecond, MostPause: 20 * time.Millisecond, Attempt: 2 * time.Second,
		}),
	)
	expected := make(map[string]int32, distinct)
	next := 0
	for result, err := range client.Stream(context.Background(), numbered(draw, users, distinct, first, expected)) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
		if result.FirstUser != next {
			t.Fatalf("the users from %d are answered when those from %d are due", result.FirstUser, next)
		}
		next += result.Users
	}
	if next != users {
		t.Fatalf("%d users are answered", next)
	}
	service.loadFaults(t, []byte("[]"))
	var ids []string
	for id := range expected {
		ids = append(ids, id)
	}
	stands, err := client.Memberships(context.Background(), "", ids...)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range stands {
		if got := user.GetSegBlock()[0].GetValue(); got != expected[user.GetUserId()] {
			t.Errorf("user %s has %d, not %d", user.GetUserId(), got, expected[user.GetUserId()])
		}
	}
}

// numbered are users drawn from so many, each with its number as value; the last ones are noted.
func numbered(draw *rand.Rand, users, distinct int, first uint64, last map[string]int32) iter.Seq[*pb.RtSegment] {
	return func(yield func(*pb.RtSegment) bool) {
		for value := range int32(users) {
			id := strconv.FormatUint(first+uint64(draw.IntN(distinct)), 10)
			last[id] = value
			block := instantaudience.Block(10001, instantaudience.Value(value), instantaudience.Expiration(0))
			if !yield(instantaudience.User(id, block)) {
				return
			}
		}
	}
}

func TestUsersAreNotTakenBeforeTheyCanBeSent(t *testing.T) {
	service := liveService(t)
	client := newClient(t, service["GRPC"],
		instantaudience.WithToken(service["TOKEN"]), instantaudience.WithPlaintext(), instantaudience.WithStreamWindow(4),
		instantaudience.WithLimits(instantaudience.Limits{
			UsersPerCall: 10, UsersPerSecond: 10_000_000, PostsPerSecond: 1_000_000,
		}))
	taken := make(chan int, 1_000_000)
	endless := func(yield func(*pb.RtSegment) bool) {
		for yield(instantaudience.User("7500000000000000001", instantaudience.Block(10001))) {
			taken <- 1
		}
	}
	for _, err := range client.Stream(context.Background(), endless) {
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		break
	}
	if len(taken) > 70 {
		t.Errorf("%d users were taken", len(taken))
	}
}

func TestACallerWhoIsSlowWithAnAnswerHasTheStreamWaitNotBeginAgain(t *testing.T) {
	const attempt = time.Second
	service := liveService(t)
	var told []instantaudience.Attempt
	client := newClient(t, service["GRPC"],
		instantaudience.WithToken(service["TOKEN"]), instantaudience.WithPlaintext(),
		instantaudience.WithStreamPatience(10*attempt),
		instantaudience.WithRetries(instantaudience.Retries{Attempt: attempt}),
		instantaudience.WithAttempts(func(attempt instantaudience.Attempt) { told = append(told, attempt) }),
		instantaudience.WithLimits(instantaudience.Limits{
			UsersPerCall: 1, UsersPerSecond: 10_000_000, PostsPerSecond: 1_000_000,
		}))
	for result, err := range client.Stream(context.Background(), fewUsers(8)) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
		if result.FirstUser < 3 {
			time.Sleep(attempt + attempt/5)
		}
	}
	if len(told) != 1 || told[0].Err != nil {
		t.Error(told)
	}
}

func TestACallerWhoIsSlowWithAnAnswerUsesUpNoPatience(t *testing.T) {
	const patience = 2 * time.Second
	service := liveService(t)
	service.loadFaults(t, []byte(`[{"fault": "pass"}, {"fault": "status", "reason": "SYSTEM", "retry_after_ms": 5}]`))
	client := newClient(t, service["FAULTS"],
		instantaudience.WithToken(service["TOKEN"]), instantaudience.WithPlaintext(),
		instantaudience.WithStreamPatience(patience), instantaudience.WithStreamWindow(1),
		instantaudience.WithLimits(instantaudience.Limits{
			UsersPerCall: 1, UsersPerSecond: 10_000_000, PostsPerSecond: 1_000_000,
		}))
	answered := 0
	for result, err := range client.Stream(context.Background(), fewUsers(2)) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
		answered++
		if answered == 1 {
			time.Sleep(patience + patience/10)
		}
	}
	if answered != 2 {
		t.Errorf("%d users are answered", answered)
	}
}

// fewUsers are so many.
func fewUsers(users uint64) iter.Seq[*pb.RtSegment] {
	return func(yield func(*pb.RtSegment) bool) {
		for number := range users {
			id := strconv.FormatUint(7_500_000_000_000_100_000+number, 10)
			if !yield(instantaudience.User(id, instantaudience.Block(10001))) {
				return
			}
		}
	}
}

func TestAnIteratorThatPanicsPanicsWhereTheAnswersAreTaken(t *testing.T) {
	service := liveService(t)
	client := newClient(t, service["GRPC"], instantaudience.WithToken(service["TOKEN"]), instantaudience.WithPlaintext())
	defer func() {
		if recovered := recover(); recovered != "no more of them" {
			t.Errorf("it came to %v", recovered)
		}
	}()
	for range client.Stream(context.Background(), func(func(*pb.RtSegment) bool) { panic("no more of them") }) {
		t.Error("there is an answer")
	}
}
