package admin

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// described is an operation in api/operator.openapi.yaml.
type described struct {
	ID         string `yaml:"operationId"`
	Role       string `yaml:"x-role"`
	Needs      string `yaml:"x-needs"`
	Changes    bool   `yaml:"x-changes"`
	Parameters []struct {
		Ref  string `yaml:"$ref"`
		Name string
		In   string
	}
	RequestBody any            `yaml:"requestBody"`
	Responses   map[string]any `yaml:"responses"`
}

// TestTableIsTheFile checks that the table of operations agrees with the OpenAPI file in method,
// path, role, permission, audit, parameters, body and status.
func TestTableIsTheFile(t *testing.T) {
	text, err := os.ReadFile("../../api/operator.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Paths      map[string]map[string]yaml.Node
		Components struct {
			Parameters map[string]struct{ Name, In string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	type row struct {
		ID, Method, Path, Role, Needs, Query string
		Changes, Body                        bool
		Status                               string
	}
	var want, got []row
	for path, methods := range file.Paths {
		for method, node := range methods {
			if method == "parameters" {
				continue
			}
			var d described
			if err := node.Decode(&d); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			r := row{ID: d.ID, Method: strings.ToUpper(method), Role: d.Role, Needs: d.Needs, Changes: d.Changes, Body: d.RequestBody != nil}
			r.Path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(strings.TrimPrefix(path, "/"), "*")
			var query []string
			for _, p := range d.Parameters {
				if p.Ref != "" {
					of := file.Components.Parameters[p.Ref[strings.LastIndex(p.Ref, "/")+1:]]
					p.Name, p.In = of.Name, of.In
				}
				if p.In == "query" {
					query = append(query, p.Name)
				}
			}
			slices.Sort(query)
			r.Query = strings.Join(query, " ")
			for status := range d.Responses {
				if status != "default" {
					r.Status = status
				}
			}
			want = append(want, r)
		}
	}
	// These operations have a body without required fields, so they accept an empty object.
	empty := []string{"rotateKey", "revokeTokens", "repeatRequest"}
	for _, op := range New(Options{}).operations {
		r := row{ID: op.id, Method: op.method, Path: op.path, Role: string(op.role), Changes: op.changes, Body: op.body && !slices.Contains(empty, op.id)}
		if op.role == nobody {
			r.Role = "nobody"
		}
		if op.messages {
			r.Needs = "messages"
		}
		if op.dev {
			r.Needs = "dev"
		}
		query := strings.Fields(op.query)
		slices.Sort(query)
		r.Query = strings.Join(query, " ")
		r.Status = map[int]string{200: "200", 201: "201", 204: "204"}[op.answers()]
		got = append(got, r)
	}
	byID := func(a, b row) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(want, byID)
	slices.SortFunc(got, byID)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table differs from the file (-file +table):\n%s", diff)
	}
}
