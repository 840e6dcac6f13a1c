package wire

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/confab-chat/confab/internal/apiver"
)

// plan tells how to encode and decode a struct at one api-version. It lists the fields that exist
// at that version, in the order of the struct, with the functions that encode and decode them.
type plan struct {
	fields []field
	byName map[string]*field
}

type field struct {
	index    int    // index of the field in the struct
	key      string // `"name":`
	omitZero bool
	required bool
	null     []byte // JSON text that Decode reads instead of null; if nil, a null field counts as absent
	encode   encoder
	decode   decoder
}

func (f *field) name() string { return f.key[1 : len(f.key)-2] }

type (
	encoder func(dst []byte, v reflect.Value) []byte
	decoder func(s *scanner, v reflect.Value) error
)

type planKey struct {
	t reflect.Type
	v apiver.Version
}

// Patch is a JSON merge patch (RFC 7396) for an object of strings. A nil value means that the
// patch removes the member.
type Patch map[string]*string

// Decimal is a number that JSON bodies have as a string of its decimal digits.
type Decimal int64

var plans sync.Map // maps a planKey to its *plan, which is made at the first use

// planOf returns the plan, the list of fields, of a struct type at an api-version.
func planOf(t reflect.Type, v apiver.Version) *plan {
	if p, ok := plans.Load(planKey{t, v}); ok {
		return p.(*plan)
	}
	p := compile(t, v, map[reflect.Type]*plan{})
	plans.Store(planKey{t, v}, p)
	return p
}

// compile returns a new plan for a struct type at an api-version. It also compiles the structs
// inside the type. The map pending holds the unfinished plans, for types that contain themselves.
func compile(t reflect.Type, v apiver.Version, pending map[reflect.Type]*plan) *plan {
	if p := pending[t]; p != nil {
		return p
	}
	p := &plan{byName: map[string]*field{}}
	pending[t] = p
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !apiver.Feature(f.Tag.Get("in")).Has(v) {
			continue
		}
		enc, dec := codecOf(f.Type, v, pending)
		in := field{
			index: i, key: `"` + name + `":`, omitZero: option == "omitzero", required: f.Tag.Get("required") == "true",
			encode: enc, decode: dec,
		}
		if null, ok := f.Tag.Lookup("null"); ok {
			in.null = []byte(null)
		}
		p.fields = append(p.fields, in)
	}
	for i := range p.fields {
		f := &p.fields[i]
		p.byName[f.name()] = f
	}
	return p
}

var (
	timeType  = reflect.TypeFor[Time]()
	dictType  = reflect.TypeFor[map[string]string]()
	patchType = reflect.TypeFor[Patch]()

	decimalType  = reflect.TypeFor[Decimal]()
	messagesType = reflect.TypeFor[Messages]()
)

// codecOf returns the encoder and the decoder of a field's type. It panics for a type
// that it does not support.
func codecOf(t reflect.Type, v apiver.Version, pending map[reflect.Type]*plan) (encoder, decoder) {
	switch {
	case t == timeType:
		return encodeTime, decodeTime
	case t == dictType:
		return encodeDict, decodeDict
	case t == patchType:
		return encodePatch, decodePatch
	case t == decimalType:
		return encodeDecimal, decodeDecimal
	case t == messagesType:
		one, _ := codecOf(reflect.TypeFor[ChatMessage](), v, pending)
		return encodeMessages(one), nil
	}
	switch t.Kind() {
	case reflect.String:
		return encodeString, decodeString
	case reflect.Bool:
		return encodeBool, decodeBool
	case reflect.Int32:
		return encodeInt, decodeInt
	case reflect.Struct:
		p := compile(t, v, pending)
		return p.encode, p.decode
	case reflect.Pointer:
		enc, dec := codecOf(t.Elem(), v, pending)
		return encodePointer(enc), decodePointer(dec)
	case reflect.Slice:
		enc, dec := codecOf(t.Elem(), v, pending)
		return encodeList(enc), decodeList(dec)
	}
	panic(fmt.Sprintf("wire: no codec for a field of type %v", t))
}
