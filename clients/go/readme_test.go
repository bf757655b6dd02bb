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
	found := regexp.MustCompile("(?s)```go\n(.*?)```\n\nThen:\n\n```sh\n(.*?)```\n```\n(.*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README has no example with its commands and its output")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	program := strings.ReplaceAll(string(found[1]), "127.0.0.1:50051", service["GRPC"])
	if err := os.WriteFile(filepath.Join(directory, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-e", "-c", strings.ReplaceAll(string(found[2]), "../instantaudience/clients/go", here))
	shell.Dir = directory
	var said strings.Builder
	shell.Stderr = &said
	if printed, err := shell.Output(); err != nil || string(printed) != string(found[3]) {
		t.Fatalf("it prints %q, %v, %s", printed, err, said.String())
	}
}
