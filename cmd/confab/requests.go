package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/tty"
)

// request is a request that a client has sent to the server, as the operator's API describes it.
type request struct {
	Seq       uint64
	ID        string
	ClientID  string
	Time      string
	MS        float64
	Status    int // HTTP status of the response; 0: the connection ended without a response
	Method    string
	Path      string
	Operation string
	User      string
	Thread    string
	SDK       string // the header User-Agent
	Client    string // the client's address
	Why       struct{ Code, Sentence, Mend string }
}

// requestsQuery holds the flags of the command requests.
type requestsQuery struct {
	status, operation, user, thread, sdk string
	last                                 int
	follow, asJSON                       bool
}

func newRequests() *cobra.Command {
	var q requestsQuery
	cmd := clientOf(&cobra.Command{
		Use:   "requests",
		Short: "Show what clients ask for, and why it was refused",
		Long: `Show the last requests that the server has answered, the oldest first: the time,
the status, the operation, the end of the user's id, and the id of the request.
Below each refused request stand the reason and what to do. With --follow, go on
with later requests, until Ctrl-C. With both --follow and --json, each request is
one line of JSON.

The server keeps the newest 2,000 requests in memory, without tokens and keys.`,
		Example: examples("requests --follow", "requests --status 4xx,5xx --last 20", "requests --follow --operation 'send message' --json"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		if q.last < 0 {
			return usage(cmd, "--last is a number from 0 up")
		}
		q.asJSON = asJSON
		return showRequests(cmd, c, q)
	}, true)
	f := cmd.Flags()
	f.BoolVar(&q.follow, "follow", false, "go on with later requests, until Ctrl-C")
	f.IntVar(&q.last, "last", 100, "`number` of requests to begin with")
	f.StringVar(&q.status, "status", "", "only with these `statuses`, such as 403 or 4xx,5xx; 0 is no answer")
	f.StringVar(&q.operation, "operation", "", "only of this `operation`, such as 'send message'")
	f.StringVar(&q.user, "user", "", "only of the user with this `id`")
	f.StringVar(&q.thread, "thread", "", "only for the thread with this `id`")
	f.StringVar(&q.sdk, "sdk", "", "only with this `text` in the user agent")
	return cmd
}

// values returns the filters of the command requests as query parameters.
func (q requestsQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"status": q.status, "operation": q.operation, "user": q.user, "thread": q.thread, "sdk": q.sdk} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

func showRequests(cmd *cobra.Command, c *apiClient, q requestsQuery) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	// Read one request even if --last is 0, because --follow continues after the number of the
	// newest request.
	found, _, err := listed(ctx, c, "requests", q.values(), "requests", max(q.last, 1))
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case err != nil:
		return err
	}
	out := cmd.OutOrStdout()
	seen := uint64(0)
	if len(found) > 0 {
		var newest request
		if err := json.Unmarshal(found[0], &newest); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		seen = newest.Seq
	}
	found = found[:min(len(found), q.last)]
	slices.Reverse(found)
	if q.asJSON && !q.follow {
		return printJSON(out, map[string]any{"requests": found})
	}
	for _, r := range found {
		if err := printRequest(out, r, q.asJSON); err != nil {
			return err
		}
	}
	if !q.follow {
		if len(found) == 0 && q.last > 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "no requests")
		}
		return nil
	}
	return followRequests(ctx, cmd, c, q, seen)
}

// followRequests prints each request whose number is greater than seen, as soon as the server has
// answered it. It returns when ctx is done or the server ends the stream.
func followRequests(ctx context.Context, cmd *cobra.Command, c *apiClient, q requestsQuery, seen uint64) error {
	v := q.values()
	v.Set("after", fmt.Sprint(seen))
	res, err := c.operateStream(ctx, "requests/stream?"+v.Encode())
	if err != nil {
		if ctx.Err() != nil {
			return exitCode(130)
		}
		return err
	}
	defer res.Close()
	out := cmd.OutOrStdout()
	err = readEvents(res, func(kind string, data []byte) error {
		switch kind {
		case "request":
			return printRequest(out, data, q.asJSON)
		case "lost":
			fmt.Fprintln(cmd.ErrOrStderr(), "some requests are missing here: they came faster than they could be shown")
		}
		return nil
	})
	if ctx.Err() != nil {
		return exitCode(130)
	}
	return streamEnd(err)
}

// printRequest prints a request, given as JSON, for a person to read or as one line of JSON.
func printRequest(w io.Writer, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		return writeLine(w, raw)
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	_, err := io.WriteString(w, requestLine(r, tty.Of(w)))
	return err
}

// requestLine formats a request for a person to read, on one line. If the server refused
// the request, the reason is on the next line.
func requestLine(r request, on tty.Screen) string {
	what := r.Operation
	if what == "" {
		what = r.Method + " " + r.Path
	}
	line := fmt.Sprintf("%s  %s  %s%s%s\n", printable(r.Time, 40), statusText(r.Status), pad(printable(what, 60), 26), pad(sender(r.User, ""), 11), printable(r.ID, 80))
	if r.Why.Sentence == "" {
		return line
	}
	why := printable(strings.TrimSpace(r.Why.Sentence+" "+r.Why.Mend), 4000)
	if on.Columns > 0 {
		why = on.Wrap(messageIndent, why)
	}
	return line + strings.Repeat(" ", messageIndent) + why + "\n"
}

// statusText returns the status of a response as text, or three dashes if there was no response.
func statusText(status int) string {
	if status == 0 {
		return "---"
	}
	return fmt.Sprint(status)
}

func newWhy() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "why [ID]",
		Short: "Say why a request was refused, and what to do",
		Long: `Say why a request was answered as it was, and what to do. ID is the request's id,
which the response has in the header x-ms-request-id, or the client's own id, the
header x-ms-client-request-id. Without an ID, it is the newest request that was
refused.

The server keeps the newest 2,000 requests in memory.`,
		Example: examples("why", "why 7OZ5XAMKQ2RTK6BYPLY2K4XGZA.0"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return oneArg("the id of a request")(cmd, args)
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		raw, err := requestToExplain(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), raw)
		}
		var r request
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		_, err = io.WriteString(cmd.OutOrStdout(), r.explanation(tty.Of(cmd.OutOrStdout())))
		return err
	}, true)
}

// requestToExplain returns, as JSON, the request that the user named in the arguments of the
// command why.
func requestToExplain(ctx context.Context, c *apiClient, args []string) (raw json.RawMessage, err error) {
	if len(args) == 1 {
		err = c.operate(ctx, http.MethodGet, "requests/"+url.PathEscape(args[0]), nil, &raw)
		return raw, err
	}
	found, _, err := listed(ctx, c, "requests", url.Values{"status": {"0,4xx,5xx"}}, "requests", 1)
	if err == nil && len(found) == 0 {
		err = &failure{what: "the server has refused no request that it still knows of", next: "see them all: " + programName() + " requests"}
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// explanation formats a refused request for a person to read. The text begins with the reason of
// the refusal.
func (r request) explanation(on tty.Screen) string {
	var b strings.Builder
	why := func(name, text string) {
		if on.Columns > 0 {
			text = on.Wrap(11, printable(text, 4000))
		} else {
			text = printable(text, 4000)
		}
		fmt.Fprintf(&b, "%-10s %s\n", name, text)
	}
	switch {
	case r.Why.Sentence != "":
		why("Why", r.Why.Sentence)
		if r.Why.Mend != "" {
			why("To do", r.Why.Mend)
		}
		field(&b, "Reason", r.Why.Code)
	case r.Status != 0 && r.Status < 400:
		why("Why", "The server did what was asked.")
	}
	field(&b, "Status", statusText(r.Status))
	field(&b, "Operation", r.Operation)
	field(&b, "Request", r.Method+" "+r.Path)
	field(&b, "User", r.User)
	field(&b, "Thread", r.Thread)
	field(&b, "Time", r.Time)
	field(&b, "Took", fmt.Sprintf("%.3g ms", r.MS))
	field(&b, "SDK", r.SDK)
	field(&b, "From", r.Client)
	field(&b, "Id", r.ID)
	field(&b, "Client id", r.ClientID)
	return b.String()
}
