package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// spec checks responses against api/operator.openapi.yaml.
type spec struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex // guards compiled
	compiled map[string]*jsonschema.Schema
}

const specURL = "https://confab.invalid/operator.json"

func loadSpec(t *testing.T) *spec {
	t.Helper()
	text, err := os.ReadFile("../../api/operator.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	s := &spec{doc: doc.(map[string]any), compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource(specURL, doc); err != nil {
		t.Fatal(err)
	}
	return s
}

// at returns the value at a JSON pointer in the OpenAPI file. If the value is a $ref, at follows
// it. It also returns the pointer of the returned value.
func (s *spec) at(pointer string) (map[string]any, string) {
	var v any = s.doc
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, pointer
		}
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	m, _ := v.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return s.at(strings.TrimPrefix(ref, "#"))
	}
	return m, pointer
}

// check fails unless the OpenAPI file allows the response to a request. path is the operation's
// path in the file.
func (s *spec) check(method, path string, status int, kind string, body []byte) error {
	responses := "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + strings.ToLower(method) + "/responses/"
	response, pointer := s.at(responses + fmt.Sprint(status))
	if response == nil {
		response, pointer = s.at(responses + "default")
	}
	if response == nil {
		return fmt.Errorf("the file has no answer %d to %s %s", status, method, path)
	}
	content, _ := response["content"].(map[string]any)
	kind, _, _ = strings.Cut(kind, ";")
	if content == nil {
		if len(body) > 0 {
			return fmt.Errorf("an answer without content has a body: %s", body)
		}
		return nil
	}
	if content[kind] == nil {
		return fmt.Errorf("the file has no %q for the answer %d to %s %s", kind, status, method, path)
	}
	if kind == "text/event-stream" {
		return nil
	}
	return s.valid(pointer+"/content/"+strings.ReplaceAll(kind, "/", "~1")+"/schema", body)
}

// valid fails unless a JSON text matches the schema at a JSON pointer in the OpenAPI file.
func (s *spec) valid(pointer string, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	schema := s.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = s.compiler.Compile(specURL + "#" + pointer); err != nil {
			return err
		}
		s.compiled[pointer] = schema
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}
