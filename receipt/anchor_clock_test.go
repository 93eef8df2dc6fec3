package receipt

import (
	"context"
	"testing"
	"time"
)

// A notary confirmed while the clock was wrong, a day ahead, and the process was started again
// once it was right. Checkpoints go on being sent. Found by make chaos.
func TestAnchorsGoOnAfterAClockThatWasAhead(t *testing.T) {
	dir := t.TempDir()
	ahead := func() time.Time { return time.Now().Add(26 * time.Hour) }
	for n, now := range []func() time.Time{ahead, time.Now} {
		l, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test", Now: now})
		if err != nil {
			t.Fatal(err)
		}
		a, err := StartAnchors(context.Background(), l, &witness{name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Outcome}); err != nil {
			t.Fatal(err)
		}
		want := l.Size()
		eventually(t, "the notary confirms", func() bool { return a.State()[0].Confirmed >= want })
		a.Close()
		closeTest(t, l)
		if rep := verifyTest(t, dir); !rep.OK() || rep.Anchors != n+1 {
			t.Fatalf("report %+v", rep)
		}
	}
}
