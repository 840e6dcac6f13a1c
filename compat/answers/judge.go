package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// judge compares exchanges (requests with their responses) with the OpenAPI files.
type judge struct {
	specs  *specs
	needed map[string]int  // number of violations that each exception allowed, by the name of the exception
	asked  map[string]bool // operations that the server has carried out or was allowed to refuse; the key is API, version and name
	words  *message.Printer
}

func newJudge(s *specs) *judge {
	return &judge{specs: s, needed: map[string]int{}, asked: map[string]bool{}, words: message.NewPrinter(language.English)}
}

// verdict is the result of judging one exchange.
type verdict struct {
	outside    string // the reason why the OpenAPI files do not describe the exchange; empty if they do
	api        string // "chat" or "identity"
	version    string // api-version whose OpenAPI file applies; empty if the requested version has no file
	violations []violation
}

// violation is a property of a response that neither the OpenAPI files nor docs/contract allow.
type violation struct {
	API, Version, Operation string // empty if the violation concerns a whole record
	Status                  int
	What                    string
}

func (v violation) String() string {
	if v.Operation == "" {
		return v.What
	}
	status := ""
	if v.Status != 0 {
		status = fmt.Sprintf(", status %d", v.Status)
	}
	if v.API == "" {
		return fmt.Sprintf("%s%s: %s", v.Operation, status, v.What)
	}
	return fmt.Sprintf("%s %s, %s%s: %s", v.API, v.Version, v.Operation, status, v.What)
}

// exchange judges one exchange. o holds the faults that the test has ordered from the server so
// far. If the response is one of these faults, exchange counts the fault as done. A nil o holds no
// faults.
func (j *judge) exchange(e exchange, o *orders) verdict {
	segments := split(e.Request.Path)
	api := apiOf(segments)
	if why := outside(e, api, segments); why != "" {
		v := verdict{outside: why}
		if isFault(e.Response.Status) && e.Response.Status != 0 && !o.take("open event stream", e.Response.Status) {
			v.violations = []violation{{Operation: e.Request.Method + " " + pattern(segments), Status: e.Response.Status, What: notOrdered}}
		}
		return v
	}
	version, wrong := j.version(api, e)
	v := verdict{api: api, version: version}
	a := &answer{judge: j, verdict: &v, exchange: e, body: e.Response.Body, status: e.Response.Status, operation: e.Request.Method + " of an unknown path"}
	if wrong != "" {
		a.violates(wrong)
	}
	if e.Response.BodyCut {
		a.violates("the record has only a part of the body")
		return v
	}
	if s := j.specs.byVersion[api][v.version]; s != nil {
		if o := j.find(s, api, v.version, e.Request.Method, segments); o != nil {
			a.op, a.operation = o, o.name
		}
	}
	if a.status == 0 || a.status >= http.StatusBadRequest {
		a.ordered = o.take(a.faultName(), a.status)
	}
	u := a.unserved()
	if a.op != nil && (a.status >= 200 && a.status < 300 || u != nil && a.status == u.status) {
		j.asked[api+" "+v.version+" "+a.op.name] = true
	}
	switch {
	case a.status == 0 && a.ordered:
		v.outside = "no answer: the test had the connection closed"
	case a.status == 0:
		a.violates("no answer, and no test ordered that: did the server crash?")
	case a.status >= http.StatusBadRequest:
		a.judgeError(u)
	case u != nil && u.always:
		a.violates("it was carried out, but this server never does that: " + u.because)
	case a.op == nil && v.version == "":
		a.violates(fmt.Sprintf("an answer to the api-version %q, of which there is no file", e.param("api-version")))
	case a.op == nil:
		a.operation = e.Request.Method + " " + pattern(segments)
		a.violates("the file has no such operation")
	default:
		a.judgeSuccess()
	}
	return v
}

// apiOf returns the API to which a path belongs: "chat", "identity" or "".
func apiOf(segments []string) string {
	if len(segments) == 0 {
		return ""
	}
	switch segments[0] {
	case "chat":
		return "chat"
	case "identities", "teamsUser", "access":
		return "identity"
	}
	return ""
}

// outside returns the reason why the OpenAPI files do not describe an exchange, or "" if they do.
func outside(e exchange, api string, segments []string) string {
	switch {
	case len(segments) == 0:
		return "the page of GET /"
	case segments[0] == "dev":
		return "orders of tests (/dev/)"
	case e.Request.Method == http.MethodOptions:
		return "questions of browsers (OPTIONS)"
	case api == "chat" && len(segments) > 1 && slices.Contains(livePaths, segments[1]), api == "":
		return "live events, and paths of no API"
	}
	return ""
}

// version returns the api-version whose OpenAPI file applies to an exchange, or "" if there is
// none. If the response has a wrong header confab-api-version, wrong describes the mistake.
func (j *judge) version(api string, e exchange) (name, wrong string) {
	name = e.param("api-version")
	if is, ok := aliases[api+" "+name]; ok {
		j.need("another name of an api-version")
		name = is
	}
	known := j.specs.byVersion[api]
	if answeredAs := e.header("Confab-Api-Version"); answeredAs != "" {
		newest := slices.Max(slices.Collect(maps.Keys(known)))
		switch {
		case known[name] != nil || !versionName.MatchString(name) || dateOf(name) <= dateOf(newest):
			wrong = fmt.Sprintf("the header confab-api-version answers as %q a client that asked for %q, which is not later than all versions", answeredAs, name)
		case answeredAs != newest:
			wrong = fmt.Sprintf("the header confab-api-version is %q, and the newest version is %q", answeredAs, newest)
		default:
			j.need("a later api-version")
			name = newest
		}
	}
	if known[name] == nil {
		name = ""
	}
	return name, wrong
}

// versionName is the form of names of api-versions (docs/contract/api-versions.md §7).
var versionName = regexp.MustCompile(`^\d{4}-\d\d-\d\d(-preview\d*)?$`)

// dateOf returns the date in the name of an api-version.
func dateOf(version string) string { return version[:len("2006-01-02")] }

// find returns the operation of a request, or nil. It also finds an operation by its second path,
// which otherPaths lists.
func (j *judge) find(s *spec, api, version, method string, segments []string) *operation {
	if o := s.find(method, segments); o != nil {
		return o
	}
	for _, x := range otherPaths {
		if x.api == api && (x.version == "" || x.version == version) && x.method == method {
			if renamed := x.rename(segments); renamed != nil {
				if o := s.find(method, renamed); o != nil {
					j.need(x.name)
					return o
				}
			}
		}
	}
	return nil
}

func (j *judge) need(name string) { j.needed[name]++ }

// answer is a response that the judge examines.
type answer struct {
	judge     *judge
	verdict   *verdict
	exchange  exchange
	op        *operation // nil if the OpenAPI file does not have the operation
	operation string     // name of the operation
	status    int
	ordered   bool // whether the test has ordered a fault with this status
	body      json.RawMessage
}

// faultName returns the operation's name in fault rules, or "" if it has none.
func (a *answer) faultName() string {
	if a.op == nil {
		return ""
	}
	return faultNames[a.op.shape()]
}

// unserved returns the entry of the list unserved for the operation, or nil.
func (a *answer) unserved() *unservedRow {
	if a.op == nil {
		return nil
	}
	for i, u := range unserved {
		if u.api == a.verdict.api && u.path.MatchString(a.op.shape()) {
			return &unserved[i]
		}
	}
	return nil
}

// notOrdered is the violation for a response that reports a failure of the server which no test has
// ordered.
const notOrdered = "a fault of the server, which no test has ordered"

// isFault reports whether a status means that the server has failed or is busy. Such a status is
// right only if a test has ordered it, even if the OpenAPI file allows the status.
func isFault(status int) bool {
	return status == 0 || status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

func (a *answer) violates(what string) {
	version := a.verdict.version
	if version == "" {
		version = "of no known version"
	}
	v := violation{a.verdict.api, version, a.operation, a.status, what}
	for _, x := range exceptions {
		if x.matches(v) {
			a.judge.need(x.name)
			return
		}
	}
	if !slices.Contains(a.verdict.violations, v) {
		a.verdict.violations = append(a.verdict.violations, v)
	}
}

// judgeSuccess checks a response whose status is below 400.
func (a *answer) judgeSuccess() {
	location, ok := a.op.responses[strconv.Itoa(a.status)]
	for _, x := range otherBodies {
		if x.api == a.verdict.api && x.version == a.verdict.version && x.operation == a.operation && x.status == a.status {
			a.judge.need(x.name)
			location = base + x.schema
		}
	}
	switch {
	case !ok:
		a.violates("the file does not have the status")
	case location == "" && !isEmpty(a.body):
		a.violates("the file has no body for the status")
	case location == "":
	case isEmpty(a.body):
		a.violates("the body is missing")
	default:
		a.fits(location, a.body)
	}
}

// judgeError checks the status, the code and the envelope of a refusal. u is the entry of the list
// unserved for the operation, or nil.
func (a *answer) judgeError(u *unservedRow) {
	inFile := false
	if a.op != nil {
		_, inFile = a.op.responses[strconv.Itoa(a.status)]
	}
	row, inContract := errorTable[a.status]
	switch {
	case inFile, a.ordered, isFault(a.status):
	case inContract:
		a.judge.need(fmt.Sprintf("status %d of the contract", a.status))
	default:
		a.violates("neither the file nor the contract's error table has the status")
	}
	switch {
	case a.ordered:
		a.judge.need("a status that the test ordered")
	case isFault(a.status):
		a.violates(notOrdered)
	case a.op == nil && !slices.Contains(row.beforeOperation, a.status):
		a.violates("the file has no such operation, and this is not how the contract refuses one")
	case a.op != nil && (a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented && (u == nil || u.status != a.status)):
		a.violates(unknownHere)
	case a.op != nil && a.op.params() == 0 && a.status == http.StatusNotFound:
		a.violates("the path names nothing that can be missing")
	}
	if empty := a.verdict.api == "chat" && a.status == http.StatusUnauthorized; empty != isEmpty(a.body) {
		if empty {
			a.violates("the chat API sends a 401 without a body (chat.md §0)")
		} else {
			a.violates("the body is missing")
		}
		return
	} else if empty {
		a.judge.need("401 without a body")
		return
	}
	code := a.envelope()
	if a.ordered {
		return
	}
	if inContract && code != "" && !slices.Contains(row.codes, code) {
		a.violates(fmt.Sprintf("the contract's error table has no code %q for the status", code))
	}
	if a.op != nil && slices.Contains(codesBeforeOperation, code) {
		a.violates(unknownHere)
	}
}

// unknownHere is the violation for a response that says that the api-version lacks the operation,
// although the OpenAPI file of the version has it.
const unknownHere = "the file has the operation, and the server refuses it as unknown"

// envelope checks the body of a refusal and returns its error code. The body must contain the error
// in the form of the OpenAPI file and also in the form in which the real service sends refusals at
// this version. Both forms must have the same code and message.
func (a *answer) envelope() (code string) {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &body); err != nil {
		a.violates("the body is no object")
		return ""
	}
	x := a.envelopeOf(body)
	if x == nil {
		a.fits(a.errorSchema(), a.body)
		return textAt(body["error"], "code")
	}
	a.judge.need(x.name)
	sent, ok := body[x.key]
	if x.key == "" {
		flat := map[string]json.RawMessage{}
		for _, member := range flatMembers {
			if value, has := body[member]; has {
				flat[member] = value
				delete(body, member)
			}
		}
		sent, ok = encoded(flat), len(flat) > 0
	}
	if !ok {
		a.violates("the envelope of the version is missing: " + x.key)
		return textAt(body["error"], "code")
	}
	schema := base + x.schema
	if x.key == "" && a.status == http.StatusBadRequest {
		schema = base + "flat 400"
	}
	a.fits(schema, sent)
	delete(body, x.key)
	rest := encoded(body)
	location := a.errorSchema()
	if a.op == nil && x.key == newestEnvelope().key { // the body has the form of the newest version, not the form of the request's version
		location = base + commonErrors
	}
	a.fits(location, rest)
	documented := body["error"]
	if x.key == "" {
		documented = rest
		if textAt(rest, "message") == "" {
			a.violates(`at "": missing property 'message'`) // the OpenAPI file does not require the member message, but docs/contract does
		}
	}
	for member, other := range map[string]string{"Code": "code", "Message": "message"} {
		got, want := textAt(sent, member), textAt(documented, other)
		if x.key == "" && member == "Message" && got == "" && want != "" {
			a.violates("the recorded envelope has no Message")
			continue
		}
		if got != want {
			a.violates(fmt.Sprintf("the two envelopes differ in %s", other))
		}
	}
	return textAt(sent, "Code")
}

func newestEnvelope() *envelope { return &envelopes[len(envelopes)-1] }

func encoded(object map[string]json.RawMessage) json.RawMessage {
	data, err := json.Marshal(object)
	if err != nil { // Marshal cannot fail, because the object was decoded from JSON
		panic(err)
	}
	return data
}

// envelopeOf returns the form of refusals at the version of the answer, or nil for the identity
// API. The server refuses an unknown path, method or version in the form of the newest version.
func (a *answer) envelopeOf(body map[string]json.RawMessage) *envelope {
	if a.verdict.api != "chat" {
		return nil
	}
	newest := newestEnvelope()
	if a.op == nil {
		if _, ok := body[newest.key]; ok || a.verdict.version == "" {
			return newest
		}
	}
	for i := range envelopes {
		if slices.Contains(envelopes[i].versions, a.verdict.version) {
			return &envelopes[i]
		}
	}
	return newest
}

// errorSchema returns the location of the schema for a refusal. It is the operation's schema for
// the status, or else for other refusals. If the OpenAPI file lacks the operation, it is the schema
// for refusals of another operation of the file. If the file has no such schema, it is
// commonErrors.
func (a *answer) errorSchema() string {
	var operations []*operation
	if a.op != nil {
		operations = []*operation{a.op}
	} else if s := a.judge.specs.byVersion[a.verdict.api][a.verdict.version]; s != nil {
		operations = s.operations
	}
	for _, o := range operations {
		for _, status := range []string{strconv.Itoa(a.status), "default", "503"} {
			if location := o.responses[status]; location != "" {
				return location
			}
		}
	}
	return base + commonErrors
}

// fits checks a value against the schema at a location, and adds a violation for each difference.
func (a *answer) fits(location string, value json.RawMessage) {
	schema, err := a.judge.specs.compile(location)
	if err != nil {
		a.violates("the file cannot be read: " + err.Error())
		return
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		a.violates("the body is no JSON: " + err.Error())
		return
	}
	var misfit *jsonschema.ValidationError
	if err := schema.Validate(instance); errors.As(err, &misfit) {
		for _, text := range a.judge.leaves(misfit) {
			a.violates(text)
		}
	}
}

// leaves returns the texts of all reasons why a value does not fit its schema. The texts contain no
// indexes of arrays, so that equal mistakes in several elements have equal texts.
func (j *judge) leaves(e *jsonschema.ValidationError) (all []string) {
	for _, cause := range e.Causes {
		all = append(all, j.leaves(cause)...)
	}
	if len(e.Causes) == 0 {
		where := ""
		for _, part := range e.InstanceLocation {
			if number.MatchString(part) {
				part = "*"
			}
			where += "/" + part
		}
		all = []string{fmt.Sprintf("at %q: %s", where, e.ErrorKind.LocalizedString(j.words))}
	}
	return all
}

var number = regexp.MustCompile(`^\d+$`)

// textAt returns a member of an object if it is a string, and otherwise "".
func textAt(object json.RawMessage, member string) (text string) {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) == nil {
		json.Unmarshal(all[member], &text) // ignore the error: text stays empty if the member is no string
	}
	return text
}

// pattern returns a path in which {id} replaces each id.
func pattern(segments []string) string {
	parts := []string{""}
	for _, s := range segments {
		if !word.MatchString(s) {
			s = "{id}"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "/")
}

var word = regexp.MustCompile(`^:?[A-Za-z]{1,40}$`)
