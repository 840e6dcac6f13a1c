package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
)

// NotOursError means that a folder that should be a data folder holds no server's data, but
// something else. A server that made its store there would hide that its folder is the wrong
// one.
type NotOursError struct {
	Path string
	Has  []string // up to three names of what it holds
}

// Error returns a message with the folder and what it holds.
func (e *NotOursError) Error() string {
	return fmt.Sprintf("%s is not a data folder: it holds %s, and no server's data", e.Path, strings.Join(e.Has, ", "))
}

// NoParentError means that the folder around a data folder does not exist, so that the data
// folder is not made.
type NoParentError struct{ Path string }

// Error returns a message with both folders.
func (e *NoParentError) Error() string {
	return fmt.Sprintf("the data folder %s is not made, because there is no folder %s", e.Path, filepath.Dir(e.Path))
}

// foreign returns the names of up to three files and folders that a data folder without a
// server's data must not hold. It returns nil if the folder has a server's data, and also if
// there is nothing in it but what may be there before the first start: the lost+found of a
// file system, hidden files, such as those of a home folder, a confab.yaml and other files that
// the settings name. Chats in a database and a certificate of the user's own leave nothing in
// the folder, so then it may hold anything.
func foreign(c config.Config) ([]string, error) {
	if c.Database != "" && c.TLSCert != "" {
		return nil, nil
	}
	entries, err := os.ReadDir(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var strange []string
	named := c.Files()
	for _, e := range entries {
		switch name := e.Name(); {
		case name == storeName, name == runtimeName, name == socketName:
			return nil, nil // a server has run here
		case name == tlsName:
			ours, err := localca.Only(filepath.Join(c.Data, name))
			if err != nil {
				return nil, err
			}
			if !ours {
				strange = append(strange, name)
			}
		case name == lostFound, name == config.FileName, strings.HasPrefix(name, "."), slices.Contains(named, filepath.Join(c.Data, name)):
		default:
			strange = append(strange, name)
		}
	}
	return strange[:min(len(strange), 3)], nil
}

// CheckData fails if a server must not use the data folder of the settings as it is: with
// *UnfinishedError, *IsBackupError, *NotOursError or *NoParentError. It changes nothing.
func CheckData(c config.Config) error {
	if err := checkPlace(c); err != nil {
		return err
	}
	return checkData(c)
}

// Names in a data folder that are not those of the store and the authority.
const (
	runtimeName = "server.json" // of package main, which describes the running server
	lostFound   = "lost+found"  // of the root of a file system
)

// checkPlace fails with *NoParentError if the data folder does not exist and neither does the
// folder around it: a mistyped path must not become a new server. The default folder of a
// development server is made with its parents.
func checkPlace(c config.Config) error {
	if c.InMemory() || c.Data == "" || !c.Explicit("data") {
		return nil
	}
	if _, err := os.Stat(c.Data); !errors.Is(err, fs.ErrNotExist) {
		return nil // what else is wrong shows when the folder is used
	}
	if _, err := os.Stat(filepath.Dir(c.Data)); errors.Is(err, fs.ErrNotExist) {
		return &NoParentError{Path: c.Data}
	}
	return nil
}
