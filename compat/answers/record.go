package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// exchange is a request and its response, in the form of the recordings of the real service and of
// internal/record (docs/testing.md describes it).
type exchange struct {
	Request struct {
		Method, Path string
		Query        map[string]string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
		BodyCut bool
	}
}

// recorded is an exchange and the path of its file.
type recorded struct {
	exchange
	file string
}

// start has the exchanges of one start of a server, in the order of the requests.
type start struct {
	path       string // of the folder
	exchanges  []recorded
	incomplete string // why exchanges are missing, or empty
}

// readRecords reads all records below a folder. It fails if there is none.
func readRecords(folder string) ([]start, error) {
	var all []start
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if dir := filepath.Dir(path); len(all) == 0 || all[len(all)-1].path != dir {
			all = append(all, start{path: dir})
		}
		s := &all[len(all)-1]
		switch {
		case d.Name() == "incomplete.txt":
			data, err := os.ReadFile(path)
			s.incomplete = strings.TrimSpace(string(data))
			return err
		case filepath.Ext(path) != ".json":
			return nil
		}
		exchanges, err := readRecord(path)
		for _, e := range exchanges {
			s.exchanges = append(s.exchanges, recorded{e, path})
		}
		return err
	})
	if err == nil && len(all) == 0 {
		err = errors.New("no record is there")
	}
	if err != nil {
		return nil, fmt.Errorf("read the record in %s: %w", folder, err)
	}
	return all, nil
}

// readRecord reads one file.
func readRecord(path string) ([]exchange, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var d struct{ Exchanges []exchange }
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d.Exchanges, nil
}

// orderedStatuses returns the statuses that a test has ordered by rules for faults. They may be any.
func orderedStatuses(all []recorded) map[int]bool {
	ordered := map[int]bool{}
	for _, e := range all {
		if e.Request.Method != "POST" || e.Request.Path != "/dev/faults" || e.Response.Status >= 300 {
			continue
		}
		var rule struct{ Status int }
		if json.Unmarshal(e.Request.Body, &rule) == nil && rule.Status != 0 {
			ordered[rule.Status] = true
		}
	}
	return ordered
}

// isEmpty reports whether a body is missing.
func isEmpty(body json.RawMessage) bool { return len(body) == 0 || string(body) == "null" }

// param returns the value of a query parameter. The letter case of its name does not matter.
func (e *exchange) param(name string) string { return caseless(e.Request.Query, name) }

// header returns the value of a header of the response.
func (e *exchange) header(name string) string { return caseless(e.Response.Headers, name) }

func caseless(all map[string]string, name string) string {
	for n, value := range all {
		if strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}
