package sse_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schemas returns the schemas of api/events.asyncapi.yaml by name. The schema of a message's
// payload has the name of the message.
var schemas = sync.OnceValues(func() (map[string]any, error) {
	text, err := os.ReadFile("../../../api/events.asyncapi.yaml")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Payload map[string]any
			}
			Schemas map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	for name, m := range doc.Components.Messages {
		if m.Payload["$ref"] != refPrefix+name {
			return nil, fmt.Errorf("the payload of message %s is %v", name, m.Payload)
		}
	}
	return doc.Components.Schemas, nil
})

const refPrefix = "#/components/schemas/"

// conform fails the test unless data is a valid payload of the named message by the AsyncAPI
// file.
func conform(t *testing.T, message, data string) {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("%s has the data %q: %v", message, data, err)
	}
	if all[message] == nil {
		t.Fatalf("the AsyncAPI file has no message %q", message)
	}
	if err := validate(all, all[message], v, message); err != nil {
		t.Errorf("%v\nin %s", err, data)
	}
}

// validate returns an error unless the JSON value v conforms to a schema. The error contains at,
// which says where v is in its document. validate panics at a keyword of JSON schema that it does
// not know.
func validate(all map[string]any, schema, v any, at string) error {
	s := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		target := all[strings.TrimPrefix(ref, refPrefix)]
		if target == nil {
			panic("no schema " + ref)
		}
		return validate(all, target, v, at)
	}
	for keyword, value := range s {
		var ok bool
		switch keyword {
		case "description", "required", "properties", "additionalProperties", "items":
			continue // with the type
		case "type":
			ok = hasType(value.(string), v)
		case "pattern":
			text, isString := v.(string)
			ok = isString && regexp.MustCompile(value.(string)).MatchString(text)
		case "enum":
			ok = slices.Contains(value.([]any), v)
		case "minimum":
			n, isNumber := v.(float64)
			ok = isNumber && n >= float64(value.(int))
		case "oneOf":
			ok = slices.ContainsFunc(value.([]any), func(s any) bool { return validate(all, s, v, at) == nil })
		default:
			panic("the test does not know the keyword " + keyword)
		}
		if !ok {
			return fmt.Errorf("%s is %v, and %s is %v", at, v, keyword, value)
		}
	}
	if s["type"] == nil {
		return nil
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if err := validate(all, s["items"], item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		return validateObject(all, s, v, at)
	}
	return nil
}

// validateObject returns an error unless the members of the JSON object v conform to the
// schema s.
func validateObject(all, s, v map[string]any, at string) error {
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s lacks %v", at, name)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		schema, ok := properties[name]
		if !ok {
			schema = s["additionalProperties"]
		}
		if schema == false {
			return fmt.Errorf("%s has %s, which the schema does not have", at, name)
		}
		if err := validate(all, schema, v[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// hasType reports whether v, as package encoding/json decodes it, has the named type of JSON
// schema.
func hasType(name string, v any) (ok bool) {
	switch name {
	case "object":
		_, ok = v.(map[string]any)
	case "array":
		_, ok = v.([]any)
	case "string":
		_, ok = v.(string)
	case "integer":
		n, isNumber := v.(float64)
		ok = isNumber && n == math.Trunc(n)
	case "null":
		ok = v == nil
	default:
		panic("the test does not know the type " + name)
	}
	return ok
}

// TestSchemasAreStrict checks that every object schema of the AsyncAPI file lists its required
// members and says whether others are allowed. Otherwise wrong payloads would pass the other
// tests.
func TestSchemasAreStrict(t *testing.T) {
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range all {
		s := schema.(map[string]any)
		if s["type"] == "object" && (s["additionalProperties"] == nil || s["required"] == nil && name != "metadata") {
			t.Errorf("%s lacks required or additionalProperties", name)
		}
	}
	for _, wrong := range []struct{ message, data string }{
		{"gap", `{}`}, {"gap", `{"reason":"other"}`}, {"gap", `{"reason":"lost","more":1}`}, {"bye", `{"reason":"away","delay":-1}`}, {"bye", `[]`},
	} {
		var v any
		if err := json.Unmarshal([]byte(wrong.data), &v); err != nil {
			t.Fatal(err)
		}
		if validate(all, all[wrong.message], v, wrong.message) == nil {
			t.Errorf("%s %s conforms", wrong.message, wrong.data)
		}
	}
}
