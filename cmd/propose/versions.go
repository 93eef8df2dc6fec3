package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// former is a content that the spec had in history.
type former struct {
	commit  string // the oldest that has it
	blob    string // git's name of it
	version string
}

// versions lists the version of every content that the spec had in the history of the commits.
func (c *checkout) versions(ctx context.Context, commits ...string) ([]string, error) {
	if err := c.Deepen(ctx); err != nil {
		return nil, fmt.Errorf("looking for the versions that were used before: %w", err)
	}
	all, err := c.formers(ctx, commits...)
	seen := []string{}
	for _, f := range all {
		seen = append(seen, f.version)
	}
	return seen, err
}

// newVersion is what to do about a version that stood for other content.
const newVersion = "give it the next one: propose set FEATURE --description TEXT --key KEY --commit, or any other change"

// stoodFor is the commit in which the version of the spec stood for other content, "" where it never did: what a version stood
// for first is what it stands for. What a shallow clone lacks is not fetched for this.
func (c *checkout) stoodFor(ctx context.Context, spec *flags.Spec) (string, error) {
	_, head, err := c.Head(ctx)
	if err != nil || head == "" {
		return "", err
	}
	all, err := c.formers(ctx, head)
	if err != nil {
		return "", err
	}
	for _, f := range all {
		if f.version != spec.Version {
			continue
		}
		name := c.git(ctx, "hash-object", "--stdin")
		name.Stdin = bytes.NewReader(spec.Bytes())
		blob, err := name.Output()
		if err != nil {
			return "", fmt.Errorf("naming the content of %s as git does: %w", c.spec, err)
		}
		if f.blob == string(bytes.TrimSpace(blob)) {
			return "", nil
		}
		return f.commit, nil
	}
	return "", nil
}

// formers lists every content that the spec had in the history of the commits and that names a version, each once, oldest first. The
// contents are read one after another and dropped: a long history of a large file fits.
func (c *checkout) formers(ctx context.Context, commits ...string) ([]former, error) {
	list := c.git(ctx, append(append([]string{"rev-list", "--full-history", "--topo-order", "--reverse"}, commits...), "--", c.spec)...)
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the history of %s: %w", c.spec, err)
	}
	hashes := strings.Fields(string(out))
	var asks bytes.Buffer
	for _, hash := range hashes {
		fmt.Fprintf(&asks, "%s:%s\n", hash, c.spec)
	}
	cat := c.git(ctx, "cat-file", "--batch")
	cat.Stdin = &asks
	answers, err := cat.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cat.Start(); err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", c.spec, err)
	}
	all, err := readFormers(bufio.NewReaderSize(answers, 1<<16), hashes)
	if err != nil {
		_ = cat.Process.Kill()
	}
	if err = errors.Join(err, cat.Wait()); err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", c.spec, err)
	}
	return all, nil
}

// readFormers takes the version out of each document in the output of git cat-file --batch, which answers for one commit after
// another.
func readFormers(r *bufio.Reader, commits []string) (all []former, err error) {
	known := map[string]bool{}
	for _, commit := range commits {
		head, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		f := strings.Fields(head)
		if len(f) == 0 || f[len(f)-1] == "missing" {
			continue // the commit removed it
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("git cat-file said %q", head)
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("git cat-file said %q", head)
		}
		body := io.LimitReader(r, size)
		if f[1] == "blob" && !known[f[0]] {
			known[f[0]] = true
			if v := versionOf(body); v != "" {
				all = append(all, former{commit: commit, blob: f[0], version: v})
			}
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, err
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// versionOf is the version that a document names, or "" where it names none that can be read.
func versionOf(r io.Reader) string {
	dec := jsontext.NewDecoder(r)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return ""
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		if name.String() == "version" {
			if v, err := dec.ReadToken(); err == nil && v.Kind() == '"' {
				return v.String()
			}
			return ""
		}
		if dec.SkipValue() != nil {
			return ""
		}
	}
	return ""
}
