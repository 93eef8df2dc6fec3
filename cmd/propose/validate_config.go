package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/rampart-flags/rampart/config"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/trust"
)

// configLine is what validate --config --json prints.
type configLine struct {
	File         string       `json:"file"`
	OK           bool         `json:"ok"`
	Environments []string     `json:"environments"`
	Errors       []defectLine `json:"errors"`
}

// validateConfig checks a rampart.json and the trust policies that it names. It asks no Redis and no repository.
func (a *app) validateConfig(path string) error {
	line := configLine{File: displayName(path), Environments: []string{}}
	src, err := a.readFile(path, config.MaxBytes+1)
	if err != nil {
		missing := errors.Is(err, fs.ErrNotExist)
		if err = fmt.Errorf("reading the environments of %s: %w", line.File, err); missing {
			err = usage(cli.Hint(err, "name the file: --config rampart.json"))
		}
	} else {
		var f *config.File
		if f, err = config.Parse(line.File, src); err == nil {
			line.Environments = f.Names()
			err = a.checkPolicies(f)
		}
	}
	var defect schema.Errors
	if errors.As(err, &defect) {
		err = cli.Exit(cli.ExitRefused, err)
	}
	line.OK = err == nil
	if a.json {
		line.Errors = defects(line.File, err)
		return errors.Join(cli.JSONLine(a.env.Stdout, "validate-config/v1", line), answered(err))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.env.Stdout, "%s: ok, %s\n", line.File, counted(len(line.Environments), "environment", "environments"))
	return err
}

// checkPolicies reads each trust policy once, and holds the environment that it names against those that use it.
func (a *app) checkPolicies(f *config.File) error {
	type read struct {
		policy *trust.Policy
		err    error
	}
	seen := map[string]read{}
	var found []schema.Problem
	var inside schema.Errors
	for _, e := range f.Environments {
		if e.Trust == "" {
			continue
		}
		r, again := seen[e.Trust]
		if !again {
			src, err := a.readFile(e.Trust, maxTrust)
			if r.err = err; err == nil {
				r.policy, r.err = trust.Parse(e.Trust, src)
			}
			seen[e.Trust] = r
		}
		var own schema.Errors
		switch {
		case errors.As(r.err, &own):
			if !again {
				inside = append(inside, own...)
			}
		case r.err != nil:
			found = append(found, e.Problem("trust", fmt.Sprintf("the trust policy of environment %s cannot be read: %v", e.Environment, r.err), ""))
		case r.policy.Environment == "":
			a.env.Talk("%s: environment %s: the trust policy %s names no environment: a spec that was signed for another one would be taken", displayName(e.Trust), e.Environment, e.Trust)
		case r.policy.Environment != e.Environment:
			found = append(found, e.Problem("trust", fmt.Sprintf("environment %s has the trust policy of %s", e.Environment, r.policy.Environment),
				"the policy's environment and the name here are the same word"))
		}
	}
	var all schema.Errors
	if err := f.Report(found); err != nil {
		errors.As(err, &all)
	}
	if all = append(all, inside...); len(all) > 0 {
		return all
	}
	return nil
}
