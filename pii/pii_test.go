package pii

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

type labelled struct {
	label, text string
}

func corpus(t testing.TB) []labelled {
	t.Helper()
	f, err := os.Open("testdata/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []labelled
	in := bufio.NewScanner(f)
	for in.Scan() {
		label, text, ok := strings.Cut(in.Text(), "\t")
		if strings.HasPrefix(in.Text(), "#") {
			continue
		}
		if !ok {
			t.Fatalf("no label: %q", in.Text())
		}
		all = append(all, labelled{label, text})
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// The rates that docs/pii.md states: below 2 % of false alarms and below 2 % of misses, over all and for each kind.
func TestCorpusRates(t *testing.T) {
	type rate struct{ all, wrong int }
	rates := map[string]*rate{}
	clean := 0
	for _, l := range corpus(t) {
		found := Find(l.text)
		r := rates[l.label]
		if r == nil {
			r = &rate{}
			rates[l.label] = r
		}
		r.all++
		if l.label == "none" {
			clean++
			if len(found) > 0 {
				r.wrong++
				t.Logf("false alarm: %q is said to hold %s %q", l.text, found[0].Kind, l.text[found[0].Start:found[0].End])
			}
			continue
		}
		if len(found) == 0 || string(found[0].Kind) != l.label {
			r.wrong++
			t.Logf("miss: %s in %q, found %v", l.label, l.text, found)
		}
	}
	if n := len(corpus(t)); n < 2000 || clean < 1000 {
		t.Errorf("the corpus has %d texts, %d of them clean: too few to say anything", n, clean)
	}
	for label, r := range rates {
		percent := 100 * float64(r.wrong) / float64(r.all)
		t.Logf("%-6s %4d texts, %d wrong, %.2f %%", label, r.all, r.wrong, percent)
		if percent >= 2 {
			t.Errorf("%s: %.2f %% wrong, want below 2 %%", label, percent)
		}
	}
}

func TestRedactKeepsNothingThatNamesSomebody(t *testing.T) {
	for in, want := range map[string]string{"anna@example.org": "a********", "": "", "é1": "é**"} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever the text, what is found lies in it, in order, and is found again alone.
func FuzzFind(f *testing.F) {
	for i, l := range corpus(f) {
		if i%20 == 0 {
			f.Add(l.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for _, m := range Find(text) {
			if m.Start < end || m.End <= m.Start || m.End > len(text) {
				t.Fatalf("%q: finding %+v after byte %d", text, m, end)
			}
			end = m.End
		}
	})
}

func BenchmarkFind(b *testing.B) {
	texts := corpus(b)
	for i := 0; b.Loop(); i++ {
		Find(texts[i%len(texts)].text)
	}
}
