package instantaudience_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheExampleOfTheReadmePrintsWhatStandsBelowIt(t *testing.T) {
	service := liveService(t)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```go\n(.*?)```\n```\n(.*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README has no example with its output")
	}
	// Within the module, so that it is imported from here.
	directory, err := os.MkdirTemp(".", "example-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	program := strings.ReplaceAll(string(found[1]), "127.0.0.1:50051", service["GRPC"])
	if err := os.WriteFile(filepath.Join(directory, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	printed, err := exec.Command("go", "run", "./"+directory).CombinedOutput()
	if err != nil || string(printed) != string(found[2]) {
		t.Fatalf("it prints %q, %v", printed, err)
	}
}
