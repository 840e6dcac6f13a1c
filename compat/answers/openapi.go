package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// base is the prefix of the URLs under which the schema compiler knows the OpenAPI files.
const base = "openapi:///"

// specs holds the OpenAPI files of all api-versions.
type specs struct {
	byVersion map[string]map[string]*spec // by API and version
	compiler  *jsonschema.Compiler
	compiled  map[string]*jsonschema.Schema // by location
}

// spec is the OpenAPI file of one api-version.
type spec struct {
	operations []*operation // sorted: operations with fewer parameters in the path come first
}

// operation is an operation in an OpenAPI file: a method and a path, with its responses.
type operation struct {
	name      string // such as "GET /chat/threads/{chatThreadId}"
	method    string
	segments  []string          // segments of the path; an empty string stands for a parameter
	responses map[string]string // location of the body's schema, by status or "default"; empty: the response has no body
}

// swagger is the part of an OpenAPI 2.0 file that the judge reads.
type swagger struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct{ Schema map[string]any }
	}
	Definitions map[string]map[string]any
}

// readSpecs reads the OpenAPI files in the folders chat, identity and common below the folder api.
func readSpecs(api string) (*specs, error) {
	s := &specs{
		byVersion: map[string]map[string]*spec{"chat": {}, "identity": {}},
		compiler:  jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{},
	}
	s.compiler.DefaultDraft(jsonschema.Draft4) // use draft 4, the version of JSON Schema on which OpenAPI 2.0 is based
	s.compiler.AssertFormat()
	for _, folder := range []string{"chat", "identity", "common"} {
		files, err := filepath.Glob(filepath.Join(api, folder, "*.json"))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no OpenAPI files in %s: name their folder with -api", filepath.Join(api, folder))
		}
		for _, file := range files {
			if err := s.read(folder, file); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	for name, doc := range contractSchemas() {
		if err := s.compiler.AddResource(base+name, doc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// read reads an OpenAPI file, converts its definitions and the schemas of its responses to JSON
// Schema, and adds them to the schema compiler.
func (s *specs) read(folder, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc swagger
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	version := strings.TrimSuffix(filepath.Base(file), ".json")
	location := base + folder + "/" + version
	c := converter{definitions: doc.Definitions, wholeSeconds: folder == "chat"}
	answers := map[string]any{}
	one := &spec{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			o := newOperation(strings.ToUpper(method), path)
			for status, r := range op.Responses {
				o.responses[status] = ""
				if r.Schema != nil {
					name := strconv.Itoa(len(answers))
					answers[name] = c.schema(r.Schema)
					o.responses[status] = location + "#/answers/" + name
				}
			}
			one.operations = append(one.operations, o)
		}
	}
	slices.SortFunc(one.operations, func(a, b *operation) int {
		if n := a.params() - b.params(); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	if folder != "common" {
		s.byVersion[folder][version] = one
	}
	definitions := c.all()
	for _, x := range stricter {
		if x.folder == folder && version >= x.from && (x.to == "" || version <= x.to) {
			if err := x.apply(definitions); err != nil {
				return err
			}
		}
	}
	return s.compiler.AddResource(location, map[string]any{"definitions": definitions, "answers": answers})
}

// apply adds the requirements of the strictRow x to the definitions that x names. It fails if a
// definition or a JSON member that x names does not exist.
func (x *strictRow) apply(definitions map[string]any) error {
	found := false
	for _, name := range x.definitions {
		def, ok := definitions[name].(map[string]any)
		if !ok {
			continue
		}
		found = true
		properties := def["properties"].(map[string]any)
		for _, member := range x.members() {
			if properties[member] == nil {
				return fmt.Errorf("%s has no member %s, which exceptions.go names", name, member)
			}
		}
		if len(x.unless) == 0 {
			def["required"] = union(def["required"], x.required)
		} else {
			others := map[string]any{}
			for member, words := range x.unless {
				others[member] = map[string]any{"enum": words}
			}
			def["anyOf"] = []any{map[string]any{"properties": others}, map[string]any{"required": x.required}}
		}
		for _, member := range x.forbidden {
			delete(properties, member)
		}
		for member, words := range x.words {
			properties[member] = map[string]any{"enum": words}
		}
		for member, form := range x.forms {
			properties[member] = map[string]any{"type": "string", "format": "date-time", "pattern": form}
		}
	}
	if !found {
		return fmt.Errorf("no definition %s, which exceptions.go names", strings.Join(x.definitions, " or "))
	}
	return nil
}

// members returns the names of all JSON members that the strictRow x requires, forbids or
// restricts.
func (x *strictRow) members() []string {
	all := slices.Concat(x.forbidden, slices.Collect(maps.Keys(x.words)), slices.Collect(maps.Keys(x.forms)), slices.Collect(maps.Keys(x.unless)))
	for _, member := range x.required {
		all = append(all, member.(string))
	}
	return all
}

// union returns the elements of both lists without duplicates, because JSON Schema allows no
// duplicates. list may be nil.
func union(list any, more []any) []any {
	all, _ := list.([]any)
	all = slices.Clone(all)
	for _, member := range more {
		if !slices.Contains(all, member) {
			all = append(all, member)
		}
	}
	return all
}

func newOperation(method, path string) *operation {
	o := &operation{name: method + " " + path, method: method, responses: map[string]string{}}
	for _, segment := range strings.Split(path[1:], "/") {
		if strings.HasPrefix(segment, "{") {
			segment = ""
		}
		o.segments = append(o.segments, segment)
	}
	return o
}

// shape returns the method and the path of the operation, in which {} replaces each parameter.
func (o *operation) shape() string {
	shape := o.method + " "
	for _, s := range o.segments {
		if s == "" {
			s = "{}"
		}
		shape += "/" + s
	}
	return shape
}

func (o *operation) params() (n int) {
	for _, s := range o.segments {
		if s == "" {
			n++
		}
	}
	return n
}

// find returns the operation for a method and a path, or nil.
func (s *spec) find(method string, segments []string) *operation {
	for _, o := range s.operations {
		if o.method == method && len(o.segments) == len(segments) && matches(o.segments, segments) {
			return o
		}
	}
	return nil
}

func matches(pattern, segments []string) bool {
	for i, p := range pattern {
		if p != "" && p != segments[i] {
			return false
		}
	}
	return true
}

// split returns the decoded segments of an escaped path, without empty segments.
func split(path string) (segments []string) {
	for s := range strings.SplitSeq(path, "/") {
		if s == "" {
			continue
		}
		if plain, err := url.PathUnescape(s); err == nil {
			s = plain
		}
		segments = append(segments, s)
	}
	return segments
}

// compile returns the schema at a location, such as openapi:///chat/2021-09-07#/definitions/ChatMessage.
func (s *specs) compile(location string) (*jsonschema.Schema, error) {
	if c := s.compiled[location]; c != nil {
		return c, nil
	}
	c, err := s.compiler.Compile(location)
	if err != nil {
		return nil, err
	}
	s.compiled[location] = c
	return c, nil
}

// converter converts the schemas of an OpenAPI file to JSON Schema of draft 4. In the result, an
// object must have only members that the OpenAPI file names.
type converter struct {
	definitions  map[string]map[string]any
	wholeSeconds bool // whether dates must have whole seconds, as in all recorded answers of the chat API (docs/contract/chat.md §0.6)
}

// all converts all definitions of an OpenAPI file to JSON Schema. A definition with a discriminator
// becomes a choice between the definitions that extend it.
func (c converter) all() map[string]any {
	all := map[string]any{}
	for name, def := range c.definitions {
		if kind, ok := def["discriminator"].(string); ok {
			all[name] = map[string]any{"oneOf": c.heirs(name, kind)}
		} else {
			all[name] = c.schema(def)
		}
	}
	return all
}

// heirs returns the converted definitions that extend the definition with the given name. Each of
// them requires its own value in the discriminator, which is the member with the name kind.
func (c converter) heirs(name, kind string) (all []any) {
	for _, heir := range slices.Sorted(maps.Keys(c.definitions)) {
		def := c.definitions[heir]
		value, ok := def["x-ms-discriminator-value"]
		if !ok || !c.extends(def, name) {
			continue
		}
		converted := c.schema(def)
		converted["properties"].(map[string]any)[kind] = map[string]any{"type": "string", "enum": []any{value}}
		all = append(all, converted)
	}
	return all
}

func (c converter) extends(def map[string]any, name string) bool {
	parents, _ := def["allOf"].([]any)
	for _, p := range parents {
		if p, ok := p.(map[string]any); ok && p["$ref"] == "#/definitions/"+name {
			return true
		}
	}
	return false
}

// schema converts one schema.
func (c converter) schema(def map[string]any) map[string]any {
	if ref, ok := def["$ref"].(string); ok {
		return map[string]any{"$ref": absolute(ref)}
	}
	def = c.flat(def)
	out := map[string]any{}
	for key, value := range def {
		switch key {
		case "type", "format", "enum", "required", "minimum", "maximum", "minLength", "maxLength", "pattern":
			out[key] = value
		case "items":
			out[key] = c.schema(value.(map[string]any))
		case "additionalProperties":
			out[key] = value
			if values, ok := value.(map[string]any); ok {
				out[key] = c.schema(values)
			}
		case "properties":
			properties := map[string]any{}
			for name, p := range value.(map[string]any) {
				properties[name] = c.schema(p.(map[string]any))
			}
			out[key] = properties
		}
	}
	if def["properties"] != nil && def["additionalProperties"] == nil {
		out["additionalProperties"] = false
	}
	if c.wholeSeconds && out["format"] == "date-time" {
		out["pattern"] = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`
	}
	if def["x-nullable"] == true && out["type"] != nil {
		out["type"] = []any{out["type"], "null"}
	}
	return out
}

// flat returns a schema that also has the members of the schemas that it extends.
func (c converter) flat(def map[string]any) map[string]any {
	parents, _ := def["allOf"].([]any)
	if len(parents) == 0 {
		return def
	}
	properties, required := map[string]any{}, []any{}
	take := func(from map[string]any) {
		if p, ok := from["properties"].(map[string]any); ok {
			maps.Copy(properties, p)
		}
		if r, ok := from["required"].([]any); ok {
			required = append(required, r...)
		}
	}
	for _, p := range parents {
		parent := p.(map[string]any)
		if ref, ok := parent["$ref"].(string); ok {
			parent = c.definitions[strings.TrimPrefix(ref, "#/definitions/")]
		}
		take(c.flat(parent))
	}
	take(def)
	out := maps.Clone(def)
	out["properties"] = properties
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// absolute returns the location to which a reference in an OpenAPI file points. A reference to
// another file leads to a common file. In the reference, the version of the common file is the name
// of its folder; in api/common, the version is the name of the file (api/README.md).
func absolute(ref string) string {
	file, fragment, _ := strings.Cut(ref, "#")
	if file == "" {
		return ref
	}
	return base + "common/" + filepath.Base(filepath.Dir(file)) + "#" + fragment
}
