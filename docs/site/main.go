// Command site makes the documentation site: the project's Markdown pages as HTML that needs no server. Pages keep
// their place in the tree (docs/trust.md is docs/trust.html), so that links between them work on GitHub, on the site
// and from a folder on disk alike. The navigation is docs/README.md.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	src := flag.String("src", ".", "the repository's root `FOLDER`")
	out := flag.String("out", "dist/site", "write the site to this `FOLDER`, which is emptied first")
	flag.Parse()
	if err := run(*src, *out); err != nil {
		fmt.Fprintf(os.Stderr, "site: error: %v\n", err)
		os.Exit(1)
	}
}

func run(src, out string) error {
	s, err := load(os.DirFS(src))
	if err != nil {
		return err
	}
	if bad := s.check(); len(bad) > 0 {
		for _, b := range bad {
			fmt.Fprintln(os.Stderr, b)
		}
		return fmt.Errorf("%d broken links", len(bad))
	}
	if err := s.write(out); err != nil {
		return fmt.Errorf("writing the site: %w", err)
	}
	fmt.Printf("%s/index.html and %d more pages\n", out, len(s.pages)-1)
	return nil
}
