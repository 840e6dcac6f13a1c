package inbound

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuery(t *testing.T) {
	names := []string{"api-version", "startTime", "skip"}
	for raw, want := range map[string]url.Values{
		"":                               {},
		"api-version=1&skip=2":           {"api-version": {"1"}, "skip": {"2"}},
		"API-VERSION=1&STARTTIME=A%2fB":  {"api-version": {"1"}, "startTime": {"A/B"}},
		"%41pi-Version=1":                {"api-version": {"1"}},
		"SKIP=3&skip=2&Skip=1":           {"skip": {"3", "2", "1"}},
		"Other=1&other=2&SKIP":           {"Other": {"1"}, "other": {"2"}, "skip": {""}},
		"\u017fkip=1&Skip=2":             {"\u017fkip": {"1"}, "skip": {"2"}}, // the letter ſ (long s) must not match an s
		"api-version =1&Api-version=2":   {"api-version ": {"1"}, "api-version": {"2"}},
		"SKIP=1&api-version=2&startTime": {"skip": {"1"}, "api-version": {"2"}, "startTime": {""}},
	} {
		got, err := Query(raw, names...)
		if err != nil {
			t.Errorf("%q: %v", raw, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", raw, diff)
		}
	}
	for _, raw := range []string{"skip=%zz&SKIP=1", "SKIP=1&a;b=2"} {
		got, err := Query(raw, names...)
		if err == nil || got.Get("skip") != "1" {
			t.Errorf("%q gives %v, %v; want skip=1 and an error", raw, got, err)
		}
	}
}

// FuzzQuery checks that Query returns the same parameters as url.ParseQuery, apart from the
// spelling of names.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "a=1&A=2", "SKIP=1&skip=2", "%zz", "a;b=1&Skip", "&&=&=1&Skip=%26"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		want, wrong := url.ParseQuery(raw)
		got, err := Query(raw, "skip", "api-version")
		if (wrong == nil) != (err == nil) {
			t.Errorf("%q gives %v, want %v", raw, err, wrong)
		}
		folded := func(all url.Values) map[string]int {
			n := map[string]int{}
			for name, values := range all {
				n[spelled(name, []string{"skip", "api-version"})] += len(values)
			}
			return n
		}
		if diff := cmp.Diff(folded(want), folded(got)); diff != "" {
			t.Errorf("%q: numbers of values (-want +got):\n%s", raw, diff)
		}
		for name := range got {
			if spelled(name, []string{"skip", "api-version"}) != name {
				t.Errorf("%q keeps the name %q", raw, name)
			}
		}
	})
}

func TestRefusedCoding(t *testing.T) {
	for _, c := range []struct {
		headers []string
		names   string // the coding that the message must name; empty if the header is accepted
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"identity"}, ""},
		{[]string{" Identity , identity"}, ""},
		{[]string{"gzip"}, "gzip"},
		{[]string{"identity, br"}, "br"},
		{[]string{"identity", "deflate"}, "deflate"},
		{[]string{strings.Repeat("x", 1000)}, "xxx"},
	} {
		got := RefusedCoding(http.Header{"Content-Encoding": c.headers})
		if (got == "") != (c.names == "") || !strings.Contains(got, c.names) || len(got) > 400 {
			t.Errorf("%q is refused with %q, want a message with %q", c.headers, got, c.names)
		}
	}
}

func TestJSON(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "{}": "{}", "\xef\xbb\xbf{}": "{}", "\xef\xbb\xbf": "", "\xef\xbb": "\xef\xbb",
		"\xef\xbb\xbf\xef\xbb\xbf{}": "\xef\xbb\xbf{}", " \xef\xbb\xbf{}": " \xef\xbb\xbf{}",
	} {
		if got := string(JSON([]byte(in))); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}
