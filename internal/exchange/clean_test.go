package exchange

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestOrdinaryTextStays checks that Text does not change texts that only resemble secrets.
func TestOrdinaryTextStays(t *testing.T) {
	for _, text := range []string{
		"the bearer of news", "a token of thanks", "eyJ is how tokens begin", "https://x/messages?syncState=abc&startTime=1%2F1&api-version=2021-09-07",
		"8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b426", "<div>test</div>", "줄바꿈\n😀",
	} {
		in, err := json.Marshal(map[string]string{"content": text})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal(JSON(in), &got); err != nil || got["content"] != text {
			t.Errorf("%q became %q (%v)", text, got["content"], err)
		}
	}
}

// FuzzJSON checks that JSON returns valid JSON for every body, that a body in JSON keeps its
// structure, and that no token remains.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "null", `{"a":[1,"eyJab.cd.ef",{"token":"x"}]}`, "\xef\xbb\xbf{}", `{"token":"`, "\xff", `{"a":1}{"b":2}`, "-0.0e1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := JSON(in)
		if !json.Valid(out) {
			t.Fatalf("%q became %q", in, out)
		}
		if jwt.Match(out) {
			t.Errorf("%q became %q, with a token", in, out)
		}
		in = bytes.TrimPrefix(in, []byte("\xef\xbb\xbf"))
		if json.Valid(in) && shape(in) != shape(out) {
			t.Errorf("%q became %q", in, out)
		}
	})
}

// shape returns the kinds of the tokens in a JSON text, in order.
func shape(data []byte) string {
	var b strings.Builder
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		t, err := d.Token()
		if err != nil {
			return b.String()
		}
		fmt.Fprintf(&b, "%T ", t)
	}
}

// FuzzText checks that Text, which tries a pattern only on some texts, replaces everything that the
// patterns match.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"", "plain", "application/json; charset=utf-8", "eyJab.cd.ef", "xeyJab.cd.ef=", "token=x", "AccessKey \t= abc", "access_to\u212aen=abc", "\u017fig=abc", "pa\u017fsword =\n=x",
		"Bearer abcdefghijklmnopqrstuvwxyz", "bearer\fabcdefghijklmnopqrstuvwxyz", "HMAC-\u017fha256 abcdefghijklmnopqrstuvwxyz", "key = = x", "skypetoken==x", "=", " ", "J", "\xffsig=abc",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		want := jwt.ReplaceAllString(in, Sanitized)
		want = named.ReplaceAllString(want, "${1}"+Sanitized)
		want = scheme.ReplaceAllString(want, "${1}"+Sanitized)
		if got := Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	})
}
