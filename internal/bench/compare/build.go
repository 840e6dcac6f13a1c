package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build returns the path of the program that arg names, and a line, what, that describes the
// program. If arg begins with a dot or is absolute, it is the path of a source folder or of a built
// program; otherwise it is a git revision. build builds source code into the folder dir, which it
// creates.
func build(ctx context.Context, arg, dir string) (program, what string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	source := arg
	switch {
	case !strings.HasPrefix(arg, ".") && !filepath.IsAbs(arg):
		source = filepath.Join(dir, "source")
		if what, err = extract(ctx, arg, source); err != nil {
			return "", "", err
		}
	default:
		info, err := os.Stat(arg)
		if err != nil {
			return "", "", err
		}
		if !info.IsDir() {
			program, err = filepath.Abs(arg)
			return program, "program " + arg, err
		}
		what = "folder " + arg
	}
	program = filepath.Join(dir, "confab.exe") // Windows needs the ending
	_, err = output(ctx, source, cmp.Or(os.Getenv("GO"), "go"), "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/confab")
	return program, what, err
}

// extract writes the files of a git revision to the folder dir, and returns the commit's short
// hash and subject. It reads the repository that contains the working folder and does not
// change it, unlike `git worktree add`.
func extract(ctx context.Context, revision, dir string) (what string, err error) {
	hash, err := output(ctx, "", "git", "rev-parse", "--verify", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%w (a path begins with ./)", err)
	}
	if what, err = output(ctx, "", "git", "log", "-1", "--format=%h %s", hash); err != nil {
		return "", err
	}
	root, err := output(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	archive := dir + ".zip"
	if _, err := output(ctx, root, "git", "archive", "--format=zip", "--output="+archive, hash); err != nil {
		return "", err
	}
	files, err := zip.OpenReader(archive)
	if err != nil {
		return "", err
	}
	defer files.Close()
	return what, os.CopyFS(dir, files)
}

// output runs a command in a folder and returns its stdout without the final newline. If
// the command fails, the error contains its stderr.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}
