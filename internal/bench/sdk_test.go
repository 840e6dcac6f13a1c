package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bench"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestSDKRuns runs the benchmark SDK with a few messages and checks that it returns no
// error.
func TestSDKRuns(t *testing.T) {
	var out strings.Builder
	if _, err := serveApart(t, bench.SDK{Rounds: 1, Sends: 5, Out: &out}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "azcore alone") {
		t.Errorf("the table reads\n%s", out.String())
	}
}

// serveApart starts a server in another process, which creates a thread. It returns s with the
// server's endpoint and CA file, the thread's id and the creator's token.
func serveApart(t *testing.T, s bench.SDK) bench.SDK {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "TEST_SERVE_CHILD=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // the server removes its files and ends when its stdin is closed
		if err := child.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		t.Fatalf("the server says nothing that can be read: %v", err)
	}
	return s
}

// serveChild is the main function of the process that serveApart starts. It runs a server
// until stdin ends.
func serveChild() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve() error {
	ctx := context.Background()
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"data": config.Memory, "listen": "localhost:0", "listen-ops": "off", "limits": "off", "connections-per-address": "0",
	}})
	if err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Options{Config: cfg, Access: func(rest.Record) {}})
	if err != nil {
		return err
	}
	told, err := prepare(s.Info())
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(told)
	}
	if err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin) // until the test is done
	return s.Close(ctx)
}

// prepare creates a user and a thread on the server, and returns the values that the client
// process needs, by name.
func prepare(i server.Info) (map[string]string, error) {
	client, err := bench.HTTPClient(i.CAFile)
	if err != nil {
		return nil, err
	}
	key, err := communication.NewAccessKey(i.AccessKey)
	if err != nil {
		return nil, err
	}
	ask := func(path, body, token string, out any) error {
		req, err := http.NewRequest(http.MethodPost, i.Endpoint+path, bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		if token == "" {
			err = key.Sign(req, time.Now())
		}
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		return json.NewDecoder(res.Body).Decode(out)
	}
	var user struct{ AccessToken struct{ Token string } }
	if err := ask("/identities?api-version=2023-10-01", `{"createTokenWithScopes":["chat"]}`, "", &user); err != nil {
		return nil, err
	}
	var made struct{ ChatThread struct{ ID string } }
	if err := ask("/chat/threads?api-version=2025-03-15", `{"topic":"lunch"}`, user.AccessToken.Token, &made); err != nil {
		return nil, err
	}
	return map[string]string{"Endpoint": i.Endpoint, "CAFile": i.CAFile, "Token": user.AccessToken.Token, "Thread": made.ChatThread.ID}, nil
}
