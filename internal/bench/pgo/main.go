// Pgo copies a CPU profile without the paths of files of the machine that it was taken on, so that
// it can be part of the source (make pgo). The copy keeps the functions, their calls and the
// samples, which the compiler needs.
//
// Usage: go run ./internal/bench/pgo PROFILE COPY
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pgo PROFILE COPY")
		os.Exit(2)
	}
	if err := copyProfile(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "pgo:", err)
		os.Exit(1)
	}
}

func copyProfile(from, to string) error {
	packed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("%s is no profile: %w", from, err)
	}
	profile, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	if profile, err = withoutPaths(profile); err != nil {
		return fmt.Errorf("%s is no profile: %w", from, err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(profile); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// stringTable is the number of the field of a profile that contains the strings, one string in each
// occurrence of the field. The other fields refer to strings by index. See profile.proto of
// github.com/google/pprof.
const stringTable = 6

// withoutPaths returns the profile with "-" as a replacement for each string that is an absolute
// path. Names of functions are never absolute paths. Names of source files are not either, if the
// program was built with -trimpath.
func withoutPaths(profile []byte) ([]byte, error) {
	var out []byte
	for len(profile) > 0 {
		number, kind, n := protowire.ConsumeTag(profile)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, profile[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := profile[:n+size]
		profile = profile[n+size:]
		if number == stringTable {
			text, length := protowire.ConsumeString(field[n:])
			if length < 0 {
				return nil, errors.New("a string has another type")
			}
			if strings.HasPrefix(text, "/") {
				field = protowire.AppendString(protowire.AppendTag(nil, stringTable, protowire.BytesType), "-")
			}
		}
		out = append(out, field...)
	}
	return out, nil
}
