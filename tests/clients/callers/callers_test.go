// Package callers shows that programs that others have call the service, knowing of it what reflection says.
package callers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	applySegments = "instantaudience.v1.AudienceService.ApplySegments"
	users         = `{"rt_segment": [{"user_id": "7600000000000000001", "seg_block": [{"seg_id": 10001, "value": 7}]}]}`
)

// service is where it is, and a token; without one, the test is skipped.
func service(t *testing.T) (address, token string) {
	t.Helper()
	address, token = os.Getenv("INSTANT_AUDIENCE_GRPC"), os.Getenv("INSTANT_AUDIENCE_TOKEN")
	if address == "" {
		t.Skip("INSTANT_AUDIENCE_GRPC names no service: `make test-clients` starts one")
	}
	return address, token
}

// built is a program of go.mod, or of another such file. It stays, so that it is linked once for all hosts.
func built(t *testing.T, path string, options ...string) string {
	t.Helper()
	program := filepath.Join("..", "..", "..", "build", "callers", filepath.Base(path))
	run(t, "go", slices.Concat([]string{"build", "-o", program}, options, []string{path})...)
	return program
}

// run is what a program prints.
func run(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Stderr = new(strings.Builder)
	printed, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s%s", program, arguments, err, printed, command.Stderr)
	}
	return string(printed)
}

func contains(t *testing.T, printed string, expected ...string) {
	t.Helper()
	for _, text := range expected {
		if !strings.Contains(printed, text) {
			t.Errorf("%q is not in %s", text, printed)
		}
	}
}

func TestGrpcurl(t *testing.T) {
	address, token := service(t)
	grpcurl := built(t, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	contains(t, run(t, grpcurl, "-plaintext", address, "list"), "instantaudience.v1.AudienceService")
	contains(t, run(t, grpcurl, "-plaintext", address, "describe", applySegments), "ApplySegmentsRequest", "IDEMPOTENT")
	contains(t, run(t, grpcurl, "-plaintext", "-H", "authorization: "+token, "-d", users, address, applySegments),
		`"usersInRequest": 1`)
}

func TestGrpcurlBehindTLS(t *testing.T) {
	_, token := service(t)
	grpcurl := built(t, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	call := func(options ...string) []string {
		return slices.Concat([]string{"-connect-timeout", "5", "-cacert", os.Getenv("INSTANT_AUDIENCE_TLS_ROOTS")}, options,
			[]string{"-H", "authorization: " + token, "-d", users, os.Getenv("INSTANT_AUDIENCE_TLS"), applySegments})
	}
	contains(t, run(t, grpcurl, call("-cert", os.Getenv("INSTANT_AUDIENCE_TLS_CERT"),
		"-key", os.Getenv("INSTANT_AUDIENCE_TLS_KEY"))...), `"usersInRequest": 1`)
	refused := [][]string{nil}
	for _, path := range strings.Fields(os.Getenv("INSTANT_AUDIENCE_TLS_REFUSED")) {
		refused = append(refused, []string{"-cert", path + ".pem", "-key", path + ".key"})
	}
	for _, shown := range refused {
		printed, err := exec.Command(grpcurl, call(shown...)...).CombinedOutput()
		if err == nil {
			t.Errorf("%v is served: %s", shown, printed)
		}
		contains(t, string(printed), "tls: ")
	}
}

func TestGrpcHealthProbe(t *testing.T) {
	address, _ := service(t)
	probe := built(t, "github.com/grpc-ecosystem/grpc-health-probe")
	run(t, probe, "-addr", address)
	run(t, probe, "-addr", address, "-service", "instantaudience.v1.AudienceService")
}

func TestBufCurl(t *testing.T) {
	address, token := service(t)
	for _, reflection := range []string{"grpc-v1", "grpc-v1alpha"} {
		contains(t, run(t, "buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc",
			"--reflect-protocol", reflection, "--header", "authorization: "+token, "--data", users,
			"http://"+address+"/instantaudience.v1.AudienceService/ApplySegments"), `"usersInRequest": 1`)
	}
}

func TestGhz(t *testing.T) {
	address, token := service(t)
	ghz := built(t, "github.com/bojand/ghz/cmd/ghz", "-modfile=ghz.mod")
	var report struct {
		Codes map[string]int `json:"statusCodeDistribution"`
	}
	printed := run(t, ghz, "--insecure", "--call", applySegments, "--metadata", `{"authorization": "`+token+`"}`,
		"--data", users, "--total", "100", "--concurrency", "2", "--format", "json", address)
	if err := json.Unmarshal([]byte(printed), &report); err != nil || report.Codes["OK"] != 100 {
		t.Error(err, printed)
	}
}
