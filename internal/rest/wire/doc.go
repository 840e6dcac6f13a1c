// Package wire encodes and decodes the JSON of request and response bodies. It has one
// struct per definition of the OpenAPI files in api/.
//
// A struct has the fields of all api-versions. A field that only some api-versions have names its
// feature in a tag, as here. Package apiver lists the api-versions of each feature.
//
//	Metadata map[string]string `json:"metadata,omitzero" in:"message metadata"`
//
// Encode writes only the fields that a version has, in the order of the struct. Decode reads only
// these fields and ignores other members. Code that fills or reads a struct therefore does not
// depend on the version.
//
// Two more tags apply to decoding. A field with required:"true" must be present and not
// empty. For a field with a null tag, such as null:"{}", Decode reads null as the JSON
// text of the tag: null has a meaning in a merge patch.
//
// Encode leaves out a zero field that is marked omitzero. A list that must be present
// although it is empty, such as attachments, has to be a non-nil slice.
package wire
