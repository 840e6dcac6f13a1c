package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var (
	milliseconds = regexp.MustCompile(`^[0-9]+ms$`)
	correlation  = regexp.MustCompile(`^[A-Za-z0-9+/]{22}\.[0-9.]+$`)
)

// compareHead compares the status and headers of a recorded response with those of this
// server's response and returns a line for each difference.
func (r *replay) compareHead(e exchange, resp *http.Response) (differences []string) {
	differ := func(what string, want, got any) {
		differences = append(differences, fmt.Sprintf("%s: %v, want %v", what, got, want))
	}
	if resp.StatusCode != e.Response.Status {
		differ("status", e.Response.Status, resp.StatusCode)
	}
	if len(e.Response.Headers) == 0 {
		return differences
	}
	want := http.Header{}
	for name, value := range e.Response.Headers {
		want.Set(name, value)
	}
	complete := want.Get("Strict-Transport-Security") != "" // whether the recording has all headers: a recording from a browser does not, because scripts cannot read most headers
	for _, name := range []string{"Content-Type", "Location", "Api-Supported-Versions", "Content-Length", "Strict-Transport-Security", "X-Processing-Time", "Ms-Cv",
		"X-Ms-Client-Request-Id", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Etag", "Repeatability-Result"} {
		w, g := want.Get(name), resp.Header.Get(name)
		switch name {
		case "Api-Supported-Versions":
			if complete && (w == "") != (g == "") {
				differ(name, w, g)
			}
		case "Content-Length": // compare the Content-Length only with 0, because ids in bodies have other lengths than the recorded ones
			if w == "0" && g != "0" {
				differ(name, w, g)
			}
		case "X-Processing-Time":
			if complete && !milliseconds.MatchString(g) {
				differ(name, w, g)
			}
		case "Ms-Cv": // do not compare MS-CV, because the recordings of chat routes lack this header
			if !correlation.MatchString(g) {
				differ(name, w, g)
			}
		default:
			if w == g || !complete && w == "" {
				continue
			}
			differences = append(differences, r.compareText(name, strings.Replace(w, "https://endpoint", r.endpoint, 1), g)...)
		}
	}
	return differences
}

// tree is a JSON value that keeps the order of object members.
type tree struct {
	names []string // member names of an object
	elems []*tree  // member values of an object, or elements of a list
	open  json.Delim
	value any // a string, number, boolean or null
}

// parseTree parses JSON. It returns nil for an empty text and for null, because in recordings null
// stands for a missing body.
func parseTree(data []byte) *tree {
	if len(data) == 0 || string(data) == "null" {
		return nil
	}
	t, err := readTree(json.NewDecoder(bytes.NewReader(data)))
	if err != nil {
		return &tree{value: string(data)}
	}
	return t
}

func readTree(d *json.Decoder) (*tree, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	t := &tree{value: tok}
	open, ok := tok.(json.Delim)
	if !ok {
		return t, nil
	}
	t.open, t.value = open, nil
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			t.names = append(t.names, name.(string))
		}
		elem, err := readTree(d)
		if err != nil {
			return nil, err
		}
		t.elems = append(t.elems, elem)
	}
	_, err = d.Token()
	return t, err
}

// compare compares a JSON value of a recorded response with the value in this server's response,
// and returns a line for each difference. The argument path is the position of the value in the
// body.
func (r *replay) compare(path string, want, got *tree) (differences []string) {
	switch {
	case want.value == sanitized || want.value == "TOKEN" || want.value == "token":
		return nil
	case want.open != got.open:
		return []string{fmt.Sprintf("%s: %+v, want %+v", path, got, want)}
	case want.open == '{' && !slices.Equal(want.names, got.names):
		return []string{fmt.Sprintf("%s: members %q, want %q", path, got.names, want.names)}
	case want.open == '[' && len(want.elems) != len(got.elems):
		return []string{fmt.Sprintf("%s: %d elements, want %d", path, len(got.elems), len(want.elems))}
	case want.open == 0:
		w, ok1 := want.value.(string)
		g, ok2 := got.value.(string)
		if ok1 && ok2 {
			return r.compareText(path, strings.Replace(w, "https://endpoint", r.endpoint, 1), g)
		}
		if want.value != got.value {
			return []string{fmt.Sprintf("%s: %v, want %v", path, got.value, want.value)}
		}
	}
	for i := range want.elems {
		step := fmt.Sprintf("[%d]", i)
		if want.open == '{' {
			step = "." + want.names[i]
		}
		differences = append(differences, r.compare(path+step, want.elems[i], got.elems[i])...)
	}
	return differences
}

// forms holds regular expressions for values that differ from run to run, such as tokens. A
// recorded value counts as equal to this server's value if both match the same expression.
var forms = []struct {
	re   *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "{date}"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?\+00:00`), "{expiry}"},
	{regexp.MustCompile(`syncState=[0-9a-f]+`), "syncState={hex}"},
}

// compareText compares a recorded text with this server's text and returns the
// differences. Times may differ. Ids may differ too, but the same recorded id must
// always correspond to the same id of this server.
func (r *replay) compareText(path, want, got string) []string {
	form := func(s string) string {
		for _, f := range forms {
			s = f.re.ReplaceAllStringFunc(s, func(v string) string {
				if v == "1970-01-01T00:00:00Z" {
					return v
				}
				return f.name
			})
		}
		return ids.ReplaceAllStringFunc(s, func(id string) string { return fmt.Sprintf("{%s %d}", id[:1], len(id)) })
	}
	if form(want) != form(got) {
		return []string{fmt.Sprintf("%s: %q, want %q", path, got, want)}
	}
	live := ids.FindAllString(got, -1)
	for i, id := range ids.FindAllString(want, -1) {
		if !r.bind(id, live[i]) {
			return []string{fmt.Sprintf("%s: %s, which is not what stands for %s (%s)", path, live[i], id, r.live[plain(id)])}
		}
	}
	return nil
}
