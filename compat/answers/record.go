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

// recorded is an exchange with the path of the file that contains it.
type recorded struct {
	exchange
	file string
}

// start is the record of one run of a server: the exchanges in the order of the requests.
type start struct {
	path       string // path of the folder with the files of the record
	exchanges  []recorded
	incomplete string // the reason why exchanges are missing; empty if the record is complete
}

// readRecords reads all records of server runs below a folder. It fails if the folder has no
// record.
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

// orders holds the faults that tests have ordered in one run of a server and that have not happened
// yet.
type orders struct{ left []order }

// order is a fault rule with which a test has made the server fail some requests (docs/testing.md).
type order struct {
	operation string // empty: any
	status    int    // status of the failed responses; 0: the server must close the connection
	times     int    // number of requests that still have to fail; negative: all requests fail
}

// see updates the orders if the request of an exchange orders a fault or clears all faults.
func (o *orders) see(e exchange) {
	if e.Request.Path != "/dev/faults" || e.Response.Status < 200 || e.Response.Status >= 300 {
		return
	}
	switch e.Request.Method {
	case "DELETE":
		o.left = nil
	case "POST":
		var rule struct {
			Operation, Drop string
			Status          int
			Times           any
		}
		if json.Unmarshal(e.Request.Body, &rule) != nil || rule.Status == 0 && rule.Drop == "" {
			return
		}
		times := 1
		switch n := rule.Times.(type) {
		case string:
			times = -1 // "always"
		case float64:
			if n != 0 {
				times = int(n)
			}
		}
		o.left = append(o.left, order{rule.Operation, rule.Status, times})
	}
}

// take reports whether a test has ordered this fault: the status for the operation, or no response
// if status is 0. If so, take counts one occurrence of the fault as done.
func (o *orders) take(operation string, status int) bool {
	if o == nil {
		return false
	}
	for i := range o.left {
		x := &o.left[i]
		if x.times != 0 && x.status == status && (x.operation == "" || x.operation == operation) {
			x.times--
			return true
		}
	}
	return false
}

// isEmpty reports whether a body is missing or null.
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
