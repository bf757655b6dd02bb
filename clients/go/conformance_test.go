package instantaudience_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/instantaudience/instantaudience/clients/go"
	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/encoding/protojson"
)

// waitFor is when what came to the proxy is counted, where a case waits.
const waitFor = time.Second

// testCase is a case of ../conformance; its README.md says what the words mean.
type testCase struct {
	Name        string           `json:"name"`
	Credentials string           `json:"credentials"`
	Limits      *limits          `json:"limits"`
	Retries     *retries         `json:"retries"`
	Faults      *json.RawMessage `json:"faults"`
	Steps       []step           `json:"steps"`
	Seen        map[string]int   `json:"seen"`
	Wait        bool             `json:"wait"`

	Endpoints        []string `json:"endpoints"`
	RefusedEndpoints []string `json:"refused_endpoints"`
}

type limits struct {
	UsersPerCall    int `json:"users_per_call"`
	SegmentsPerUser int `json:"segments_per_user"`
	BodyBytes       int `json:"body_bytes"`
	PostsPerSecond  int `json:"posts_per_second"`
	UsersPerSecond  int `json:"users_per_second"`
	GetsPerSecond   int `json:"gets_per_second"`
}

type retries struct {
	FirstMs   int `json:"first_ms"`
	MostMs    int `json:"most_ms"`
	AttemptMs int `json:"attempt_ms"`
}

type step struct {
	Call         string            `json:"call"`
	Users        []map[string]any  `json:"users"`
	UserIDs      []json.RawMessage `json:"user_ids"`
	Domain       string            `json:"domain"`
	ValidateOnly bool              `json:"validate_only"`
	DeadlineMs   int               `json:"deadline_ms"`
	AtLeastMs    int               `json:"at_least_ms"`
	ClosedAfter  *int              `json:"closed_after_ms"`
	Expect       expectation       `json:"expect"`
}

type expectation struct {
	UsersInRequest    int32            `json:"users_in_request"`
	SegmentsInRequest int32            `json:"segments_in_request"`
	Warnings          *[]warning       `json:"warnings"`
	WarningCount      *int             `json:"warning_count"`
	Results           *[][2]int        `json:"results"`
	Continued         []int            `json:"continued"`
	Errors            []expectedError  `json:"errors"`
	Users             []map[string]any `json:"users"`
	Error             *expectedError   `json:"error"`
}

type warning struct {
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

type expectedError struct {
	Kind   instantaudience.Kind `json:"kind"`
	Code   string               `json:"code"`
	Reason string               `json:"reason"`
}

func TestConformance(t *testing.T) {
	service := liveService(t)
	files, err := filepath.Glob("../conformance/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases struct {
			Cases []testCase `json:"cases"`
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&cases); err != nil {
			t.Fatal(file, err)
		}
		for _, one := range cases.Cases {
			name := strings.TrimSuffix(filepath.Base(file), ".json") + ": " + one.Name
			t.Run(name, func(t *testing.T) { one.run(t, service) })
		}
	}
}

func (c testCase) run(t *testing.T, service environment) {
	token := instantaudience.WithToken("x")
	for _, endpoint := range c.Endpoints {
		newClient(t, endpoint, token)
	}
	for _, endpoint := range c.RefusedEndpoints {
		_, err := instantaudience.NewClient(endpoint, token)
		if err == nil || !strings.HasPrefix(err.Error(), "endpoint is ") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	endpoint := service["GRPC"]
	if c.Faults != nil {
		endpoint = service["FAULTS"]
		service.loadFaults(t, *c.Faults)
	}
	client := c.client(t, service, endpoint)
	for _, step := range c.Steps {
		began := time.Now()
		if step.ClosedAfter != nil {
			time.AfterFunc(time.Duration(*step.ClosedAfter)*time.Millisecond, func() { client.Close() })
		}
		step.check(t, client)
		if took := time.Since(began); took < time.Duration(step.AtLeastMs)*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	}
	if c.Wait {
		time.Sleep(waitFor)
	}
	if c.Seen != nil {
		seen := service.seenFaults(t)
		for method, requests := range c.Seen {
			if seen[method] != requests {
				t.Errorf("%d requests of %s came, not %d", seen[method], method, requests)
			}
		}
	}
}

func (c testCase) client(t *testing.T, service environment, endpoint string) *instantaudience.Client {
	key, err := os.ReadFile(service["KEY_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]instantaudience.Option{
		"":               instantaudience.WithKeyPair(service["USERNAME"], service["KEY_NAME"], key),
		"password":       instantaudience.WithPassword(service["USERNAME"], service["PASSWORD"]),
		"wrong password": instantaudience.WithPassword("private", "wrong"),
		"token":          instantaudience.WithToken(service["TOKEN"]),
		"unknown token":  instantaudience.WithToken("hbapi:1001:0:0"),
		"wrong key":      instantaudience.WithKeyPair(service["USERNAME"], "unknown", key),
	}
	credentials, ok := known[c.Credentials]
	if !ok {
		t.Fatalf("credentials %q are not known", c.Credentials)
	}
	pauses := retries{FirstMs: 10, MostMs: 100, AttemptMs: 10_000}
	if c.Retries != nil {
		pauses = *c.Retries
	}
	options := []instantaudience.Option{
		credentials,
		instantaudience.WithPlaintext(),
		instantaudience.WithRetries(instantaudience.Retries{
			FirstPause: time.Duration(pauses.FirstMs) * time.Millisecond,
			MostPause:  time.Duration(pauses.MostMs) * time.Millisecond,
			Attempt:    time.Duration(pauses.AttemptMs) * time.Millisecond,
		}),
	}
	if c.Limits != nil {
		options = append(options, instantaudience.WithLimits(instantaudience.Limits(*c.Limits)))
	}
	for _, step := range c.Steps {
		if step.Call == "stream" && step.DeadlineMs != 0 {
			patience := time.Duration(step.DeadlineMs) * time.Millisecond
			options = append(options, instantaudience.WithStreamPatience(patience))
		}
	}
	return newClient(t, endpoint, options...)
}

func (s step) check(t *testing.T, client *instantaudience.Client) {
	t.Helper()
	ctx := context.Background()
	if s.DeadlineMs != 0 && s.Call != "stream" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.DeadlineMs)*time.Millisecond)
		defer cancel()
	}
	var results []*instantaudience.StreamResult
	var memberships []*pb.UserMemberships
	var err error
	switch s.Call {
	case "apply":
		apply := client.Apply
		if s.ValidateOnly {
			apply = client.Validate
		}
		var result *pb.ApplySegmentsResult
		if result, err = apply(ctx, usersOf(t, s.Users)); err == nil {
			results = append(results, &instantaudience.StreamResult{Result: result})
		}
	case "stream":
		var result *instantaudience.StreamResult
		came := make(chan struct{}, 100)
		for result, err = range client.Stream(ctx, s.asTheyCome(t, came)) {
			if err == nil {
				results = append(results, result)
				came <- struct{}{}
			}
		}
	case "memberships":
		memberships, err = client.Memberships(ctx, s.Domain, idsOf(t, s.UserIDs)...)
	default:
		t.Fatalf("call %q is not known", s.Call)
	}
	switch {
	case s.Expect.Error != nil:
		s.Expect.Error.check(t, err, s.ClosedAfter != nil)
	case err != nil:
		t.Fatal(err)
	case s.Call == "memberships":
		checkMemberships(t, memberships, s.Expect.Users)
	default:
		s.Expect.checkResults(t, results)
	}
}

// asTheyCome yields the users of a stream. There is a value in came for each result; some users wait for these.
func (s step) asTheyCome(t *testing.T, came <-chan struct{}) iter.Seq[*pb.RtSegment] {
	t.Helper()
	var users []*pb.RtSegment
	after := make(map[int]int)
	for _, written := range s.Users {
		if results, ok := written["after_results"].(float64); ok {
			after[len(users)] = int(results)
		}
		users = append(users, usersOf(t, []map[string]any{written})...)
	}
	return func(yield func(*pb.RtSegment) bool) {
		results := 0
		for index, user := range users {
			for ; results < after[index]; results++ {
				<-came
			}
			if !yield(user) {
				return
			}
		}
	}
}

func (e expectation) checkResults(t *testing.T, results []*instantaudience.StreamResult) {
	t.Helper()
	var users, segments int32
	var warnings []*pb.ApplyWarning
	var places [][2]int
	var continued []int
	var failures []*instantaudience.Error
	for index, result := range results {
		if result.Continues {
			continued = append(continued, index)
		}
		places = append(places, [2]int{result.FirstUser, result.Users})
		users += result.Result.GetMessage().GetUsersInRequest()
		segments += result.Result.GetMessage().GetSegmentsInRequest()
		warnings = append(warnings, result.Result.GetWarnings()...)
		if result.Err != nil {
			failures = append(failures, result.Err)
		}
	}
	if users != e.UsersInRequest || segments != e.SegmentsInRequest {
		t.Errorf("%d users and %d segments, not %d and %d", users, segments, e.UsersInRequest, e.SegmentsInRequest)
	}
	if e.WarningCount != nil && len(warnings) != *e.WarningCount {
		t.Errorf("%d warnings, not %d", len(warnings), *e.WarningCount)
	}
	if e.Warnings != nil {
		checkWarnings(t, warnings, *e.Warnings)
	}
	if e.Results != nil && !(slices.Equal(places, *e.Results) && slices.Equal(continued, e.Continued)) {
		t.Errorf("results of %v, %v continued, not of %v, %v", places, continued, *e.Results, e.Continued)
	}
	if len(failures) != len(e.Errors) {
		t.Fatalf("the errors %v, not %v", failures, e.Errors)
	}
	for index, failure := range failures {
		e.Errors[index].check(t, failure, false)
	}
}

func checkWarnings(t *testing.T, told []*pb.ApplyWarning, expected []warning) {
	t.Helper()
	if len(told) != len(expected) {
		t.Fatalf("the warnings %v, not %v", told, expected)
	}
	for index, one := range expected {
		code := strings.TrimPrefix(told[index].GetCode().String(), "WARNING_CODE_")
		isMeant := one.Message == "" || one.Message == told[index].GetMessage()
		if told[index].GetPath() != one.Path || code != one.Code || !isMeant {
			t.Errorf("the warning %v, not %v", told[index], one)
		}
	}
}

func (e expectedError) check(t *testing.T, err error, isClosed bool) {
	t.Helper()
	var failure *instantaudience.Error
	if !errors.As(err, &failure) {
		t.Fatalf("it came to %v, not to %v", err, e)
	}
	code := strings.ToUpper(strings.Join(words(failure.Code.String()), "_"))
	if !errors.Is(err, e.Kind) || (e.Code != "" && code != e.Code) || (e.Reason != "" && failure.Reason != e.Reason) {
		t.Errorf("the error %s %s %v, not %v", failure.Kind, code, failure, e)
	}
	if failure.RequestID == "" && e.Kind != instantaudience.DeadlineExceeded && !isClosed {
		t.Errorf("%v has no request ID", failure)
	}
}

// words are those of a name like InvalidArgument.
func words(name string) []string {
	var found []string
	for begin, end := 0, 1; end <= len(name); end++ {
		if end == len(name) || (name[end] >= 'A' && name[end] <= 'Z') {
			found = append(found, name[begin:end])
			begin = end
		}
	}
	return found
}

func checkMemberships(t *testing.T, told []*pb.UserMemberships, written []map[string]any) {
	t.Helper()
	expected := expanded(written)
	if len(told) != len(expected) {
		t.Fatalf("memberships of %d users, not of %d", len(told), len(expected))
	}
	for index, user := range expected {
		var said struct {
			UserID   string           `json:"user_id"`
			Domain   string           `json:"domain"`
			SegBlock []map[string]any `json:"seg_block"`
		}
		convert(t, user, &said)
		one := told[index]
		if one.GetUserId() != said.UserID || one.GetDomain() != said.Domain || len(one.SegBlock) != len(said.SegBlock) {
			t.Fatalf("%v, not %v", one, said)
		}
		for place, fields := range said.SegBlock {
			var stands map[string]any
			text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(one.SegBlock[place])
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &stands); err != nil {
				t.Fatal(err)
			}
			for name, value := range fields {
				if stands[name] != value {
					t.Errorf("%v has %s = %v, not %v", one, name, stands[name], value)
				}
			}
		}
	}
}

func usersOf(t *testing.T, written []map[string]any) []*pb.RtSegment {
	t.Helper()
	var users []*pb.RtSegment
	for _, user := range expanded(written) {
		text, err := json.Marshal(user)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, new(pb.RtSegment))
		if err := protojson.Unmarshal(text, users[len(users)-1]); err != nil {
			t.Fatal(err)
		}
	}
	return users
}

func idsOf(t *testing.T, written []json.RawMessage) []string {
	t.Helper()
	var ids []string
	for _, one := range written {
		var id string
		if json.Unmarshal(one, &id) == nil {
			ids = append(ids, id)
			continue
		}
		var user map[string]any
		if err := json.Unmarshal(one, &user); err != nil {
			t.Fatal(err)
		}
		for _, user := range expanded([]map[string]any{user}) {
			ids = append(ids, user["user_id"].(string))
		}
	}
	return ids
}

// expanded are users as they are meant: each as often as `times` says.
func expanded(written []map[string]any) []map[string]any {
	var users []map[string]any
	for _, user := range written {
		times := number(user, "times", 1)
		distinct := number(user, "distinct", times)
		for i := range times {
			one := maps.Clone(user)
			delete(one, "times")
			delete(one, "distinct")
			delete(one, "after_results")
			if times > 1 {
				first, _ := strconv.ParseUint(user["user_id"].(string), 10, 64)
				one["user_id"] = strconv.FormatUint(first+uint64(i%distinct), 10)
			}
			if blocks, ok := user["seg_block"].([]any); ok {
				one["seg_block"] = expandedBlocks(blocks, i)
			}
			users = append(users, one)
		}
	}
	return users
}

func expandedBlocks(written []any, i int) []any {
	blocks := []any{}
	for _, block := range written {
		block := block.(map[string]any)
		times := number(block, "times", 1)
		for n := range times {
			one := maps.Clone(block)
			delete(one, "times")
			if one["value"] == "i" && times > 1 {
				one["value"] = float64(n)
			} else if one["value"] == "i" {
				one["value"] = float64(i)
			}
			blocks = append(blocks, one)
		}
	}
	return blocks
}

func number(of map[string]any, name string, otherwise int) int {
	if value, ok := of[name].(float64); ok {
		return int(value)
	}
	return otherwise
}

func convert(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		t.Fatal(err)
	}
}

// environment has what is in the variables INSTANT_AUDIENCE_…, by the rest of their names.
type environment map[string]string

// liveService is where it is; without one, the test is skipped.
func liveService(t *testing.T) environment {
	t.Helper()
	found := make(environment)
	for _, variable := range os.Environ() {
		if rest, ok := strings.CutPrefix(variable, "INSTANT_AUDIENCE_"); ok {
			name, value, _ := strings.Cut(rest, "=")
			found[name] = value
		}
	}
	if found["GRPC"] == "" {
		t.Skip("INSTANT_AUDIENCE_GRPC names no service: `make test-clients` starts one")
	}
	return found
}

func (e environment) loadFaults(t *testing.T, plan []byte) {
	t.Helper()
	answer, err := http.Post(e["FAULTS_CONTROL"], "application/json", bytes.NewReader(plan))
	readSeen(t, answer, err)
}

func (e environment) seenFaults(t *testing.T) map[string]int {
	t.Helper()
	answer, err := http.Get(e["FAULTS_CONTROL"])
	return readSeen(t, answer, err)
}

func readSeen(t *testing.T, answer *http.Response, err error) map[string]int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var said struct {
		Seen map[string]int `json:"seen"`
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || json.Unmarshal(text, &said) != nil {
		t.Fatal(answer.Status, string(text), err)
	}
	return said.Seen
}

func newClient(t *testing.T, endpoint string, options ...instantaudience.Option) *instantaudience.Client {
	t.Helper()
	client, err := instantaudience.NewClient(endpoint, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
