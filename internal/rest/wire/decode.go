package wire

import (
	"errors"
	"reflect"
	"strconv"

	"github.com/confab-chat/confab/internal/apiver"
)

// Decode decodes a JSON request body into *v, a struct of this package. It reads the
// fields that exist at the api-version and ignores other members. A null means absent
// unless the field has a null tag. If a name occurs twice, the last member wins. It fails
// with an [*Error], which names the field.
func Decode(body []byte, v any, version apiver.Version) error {
	s := scanner{data: body}
	into := reflect.ValueOf(v).Elem()
	p := planOf(into.Type(), version)
	if !s.null() {
		if err := p.decode(&s, into); err != nil {
			return err
		}
	} else if err := p.checkRequired(into); err != nil {
		return err
	}
	if s.peek() != 0 || s.pos < len(s.data) {
		return errorf("has more after its end, at byte %d", s.pos)
	}
	return nil
}

// decode reads a JSON object and sets the fields of the struct v.
func (p *plan) decode(s *scanner, v reflect.Value) error {
	if s.peek() != '{' {
		return s.mismatch("an object")
	}
	err := s.object(func(name []byte) error {
		f := p.byName[string(name)]
		if f == nil {
			if err := s.skip(); err != nil {
				return inMember(err, string(name))
			}
			return nil
		}
		fv := v.Field(f.index)
		fv.SetZero()
		from := s
		if s.null() {
			if f.null == nil {
				return nil
			}
			from = &scanner{data: f.null}
		}
		if err := f.decode(from, fv); err != nil {
			return inMember(err, string(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.checkRequired(v)
}

// checkRequired fails if a required field of the struct is zero.
func (p *plan) checkRequired(v reflect.Value) error {
	for i := range p.fields {
		if f := &p.fields[i]; f.required && v.Field(f.index).IsZero() {
			return inMember(errorf("is required"), f.name())
		}
	}
	return nil
}

// mismatch skips the next value and returns an error that names the wanted type, or a
// syntax error if the value is not valid JSON. It never returns nil.
func (s *scanner) mismatch(want string) error {
	if err := s.skip(); err != nil {
		return err
	}
	return errorf("must be %s", want)
}

func decodePointer(elem decoder) decoder {
	return func(s *scanner, v reflect.Value) error {
		v.Set(reflect.New(v.Type().Elem()))
		return elem(s, v.Elem())
	}
}

func decodeList(elem decoder) decoder {
	return func(s *scanner, v reflect.Value) error {
		if s.peek() != '[' {
			return s.mismatch("a list")
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // decode an empty list as an empty slice, because nil means that the field is absent
		return s.list(func() error {
			i := v.Len()
			if s.null() {
				return inElement(errorf("must not be null"), i)
			}
			if i == v.Cap() {
				v.Grow(max(4, i))
			}
			v.SetLen(i + 1)
			if err := elem(s, v.Index(i)); err != nil {
				return inElement(err, i)
			}
			return nil
		})
	}
}

func decodeString(s *scanner, v reflect.Value) error {
	if s.peek() != '"' {
		return s.mismatch("a string")
	}
	t, err := s.text()
	if err != nil {
		return err
	}
	v.SetString(string(t))
	return nil
}

func decodeBool(s *scanner, v reflect.Value) error {
	switch s.peek(); {
	case s.literal("true"):
		v.SetBool(true)
	case s.literal("false"):
		v.SetBool(false)
	default:
		return s.mismatch("true or false")
	}
	return nil
}

func decodeInt(s *scanner, v reflect.Value) error {
	if b := s.peek(); b != '-' && (b < '0' || b > '9') {
		return s.mismatch("an integer")
	}
	t, err := s.number()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(t), 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return errorf("must be an integer of 32 bits")
	}
	if err != nil {
		return errorf("must be an integer")
	}
	v.SetInt(n)
	return nil
}

func decodeDecimal(s *scanner, v reflect.Value) error {
	if s.peek() != '"' {
		return s.mismatch("a string of digits")
	}
	t, err := s.text()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil {
		return errorf("must be a string of digits")
	}
	v.SetInt(n)
	return nil
}

// decodeDict decodes an object of strings into a map. It ignores members that are null.
func decodeDict(s *scanner, v reflect.Value) error {
	m := map[string]string{}
	*v.Addr().Interface().(*map[string]string) = m
	return s.dict(func(key string, text *string) {
		delete(m, key)
		if text != nil {
			m[key] = *text
		}
	})
}

// decodePatch decodes an object whose values are strings or null into a Patch.
func decodePatch(s *scanner, v reflect.Value) error {
	m := Patch{}
	*v.Addr().Interface().(*Patch) = m
	return s.dict(func(key string, text *string) { m[key] = text })
}

// dict reads an object whose values are strings or null. It calls member for each member of the
// object, with a nil text for null.
func (s *scanner) dict(member func(key string, text *string)) error {
	if s.peek() != '{' {
		return s.mismatch("an object of strings")
	}
	return s.object(func(name []byte) error {
		key := string(name)
		if s.null() {
			member(key, nil)
			return nil
		}
		if s.peek() != '"' {
			return inMember(s.mismatch("a string"), key)
		}
		t, err := s.text()
		if err != nil {
			return inMember(err, key)
		}
		text := string(t)
		member(key, &text)
		return nil
	})
}
